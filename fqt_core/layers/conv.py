"""Binarised 2-d convolution."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from torch import Tensor, nn

from fqt_core.config import MethodConfig
from fqt_core.errors import ConversionError
from fqt_core.layers.base import BinaryLayer
from fqt_core.layers.packed import PackedConv2d
from fqt_core.layers.products import ConvProduct
from fqt_core.random import PhiloxState

Size = int | tuple[int, int]


def pair(value: Any) -> tuple[int, int]:
    """One number for both axes, or two, as two."""
    height, width = (value, value) if isinstance(value, int) else value
    return int(height), int(width)


class BinaryConv2d(BinaryLayer, nn.Conv2d):
    """``Y = α ⊙ conv(sign(x), sign(weight)) + bias`` with exact zero padding: a padded tap contributes nothing.

    Input float (N, C, H, W), output float32 (N, D, H', W'). Gradients are quantised as ``method`` says.

    Raises:
        ConfigurationError: ``method`` does not binarise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        method: MethodConfig,
        state: PhiloxState,
        layer_index: int,
        device: Any = None,
    ) -> None:
        nn.Conv2d.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device=device
        )
        self._configure(method, state, layer_index)

    @classmethod
    def from_float(
        cls, module: nn.Conv2d, *, method: MethodConfig, state: PhiloxState, layer_index: int, name: str
    ) -> BinaryConv2d:
        """The binarised layer that takes over the parameters of ``module`` (the same objects).

        Raises:
            ConversionError: the padding is not with zeros, or differs on opposite sides.
        """
        if module.padding_mode != "zeros":
            raise ConversionError(f"{name}: padding_mode={module.padding_mode!r} is not supported; use 'zeros'")
        layer = cls(
            module.in_channels,
            module.out_channels,
            pair(module.kernel_size),
            pair(module.stride),
            explicit_padding(module, name),
            pair(module.dilation),
            module.groups,
            module.bias is not None,
            method=method,
            state=state,
            layer_index=layer_index,
            device="meta",
        )
        layer._adopt(module, name)
        return layer

    @staticmethod
    def from_packed(
        weight_bits: Tensor,
        alpha: Tensor | None,
        bias: Tensor | None,
        *,
        in_channels: int,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
    ) -> PackedConv2d:
        """An inference-only layer from :meth:`packed_weight`; see :class:`PackedConv2d`."""
        outputs, height, width = weight_bits.shape[:3]
        product = ConvProduct(
            in_channels, outputs, (height, width), pair(stride), pair(padding), pair(dilation), groups
        )
        return PackedConv2d(product, weight_bits, alpha, bias)

    @property
    def product(self) -> ConvProduct:
        """The layer's three products."""
        sizes = self.kernel_size, self.stride, self.padding, self.dilation
        return _product_of(self.in_channels, self.out_channels, *sizes, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """float (N, C, H, W) to float32 (N, D, H', W')."""
        return self._apply_binary(x, self.bias)


@lru_cache(maxsize=1024)
def _product_of(
    channels: int, outputs: int, kernel_size: Size, stride: Size, padding: Any, dilation: Size, groups: int
) -> ConvProduct:
    """Asked for several times per layer and step."""
    return ConvProduct(channels, outputs, pair(kernel_size), pair(stride), pair(padding), pair(dilation), groups)


def explicit_padding(module: nn.Conv2d, name: str) -> tuple[int, int]:
    """Padding in pixels, with ``same`` and ``valid`` resolved."""
    if module.padding == "valid":
        return 0, 0
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(pair(module.dilation), pair(module.kernel_size), strict=True)]
        if total[0] % 2 or total[1] % 2:
            raise ConversionError(f"{name}: padding='same' of an even kernel pads unequally; pad in a layer before it")
        return total[0] // 2, total[1] // 2
    return pair(module.padding)
