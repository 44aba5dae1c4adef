"""Inference-only binarised layers: they hold one bit per weight and no float latents."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fqt_core.layers.function import affine
from fqt_core.layers.products import ConvProduct, LinearProduct, Product
from fqt_core.ops.geometry import check_words
from fqt_core.quantizers.sign import pack_activations


class _PackedLayer(nn.Module):
    """A packed weight and what follows its product.

    Buffers: ``weight_bits``, int64 words (D, *, ceil(C / groups / 64)); ``alpha`` and ``bias``, float32 (D,) or absent.
    """

    weight_bits: Tensor
    alpha: Tensor | None
    bias: Tensor | None

    def __init__(self, product: Product, weight_bits: Tensor, alpha: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.product = product
        self.register_buffer("weight_bits", weight_bits.detach().contiguous())
        self.register_buffer("alpha", None if alpha is None else alpha.detach().float())
        self.register_buffer("bias", None if bias is None else bias.detach().float())

    @torch.no_grad()
    def _run(self, x: Tensor) -> Tensor:
        signs, _ = pack_activations(x, window=False)
        return affine(self.product.forward(signs, self.weight_bits), self.alpha, self.bias)

    def extra_repr(self) -> str:
        """The geometry."""
        return repr(self.product)


class PackedConv2d(_PackedLayer):
    """Forward pass of :class:`~fqt_core.layers.BinaryConv2d` from packed weights; no gradients.

    Raises:
        ValueError: the words do not fit the geometry.
    """

    def __init__(self, product: ConvProduct, weight_bits: Tensor, alpha: Tensor | None, bias: Tensor | None) -> None:
        check_words("weight_bits", weight_bits, 4, product.weight_channels)
        super().__init__(product, weight_bits, alpha, bias)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, H, W) to float32 (N, D, H', W')."""
        return self._run(x)


class PackedLinear(_PackedLayer):
    """Forward pass of :class:`~fqt_core.layers.BinaryLinear` from packed weights; no gradients.

    Raises:
        ValueError: the words do not fit the geometry.
    """

    def __init__(self, product: LinearProduct, weight_bits: Tensor, alpha: Tensor | None, bias: Tensor | None) -> None:
        check_words("weight_bits", weight_bits, 2, product.channels)
        super().__init__(product, weight_bits, alpha, bias)

    def forward(self, x: Tensor) -> Tensor:
        """float (*, C) to float32 (*, D)."""
        return self._run(x.reshape(-1, self.product.channels)).reshape(*x.shape[:-1], self.weight_bits.shape[0])
