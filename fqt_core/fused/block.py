"""One block of a chain: a binarised convolution and what stands between it and the next sign."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fqt_core.config import GradientQuantizer
from fqt_core.layers import BinaryConv2d, PackedConv2d
from fqt_core.layers.products import ConvProduct
from fqt_core.ops.hwnc.forward import INT16_MAX


@dataclass(frozen=True)
class Shortcut:
    """A way around a block: the input itself, or what ``run`` makes of it with the parameters of ``module``.

    ``run`` takes and gives float32 (H, W, N, C).
    """

    run: Callable[[Tensor], Tensor] | None = None
    module: nn.Module | None = None

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters that ``run`` uses."""
        if self.module is not None:
            yield from self.module.parameters()


@dataclass(frozen=True)
class Block:
    """``h = norm(pool(conv(sign(x)))) + shortcut(x)``; the next block takes the sign of h.

    ``pool``: a 2x2 max-pool of stride 2. ``shortcut``: ``None`` without one. ``operations``: those of the products.
    """

    operations: ClassVar[tuple[str, ...]] = ("hwnc_binary_conv2d", "hwnc_input_gradient", "hwnc_weight_gradient")

    conv: nn.Module
    norm: nn.Module
    pool: bool = False
    shortcut: Shortcut | None = None

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Modules whose ``forward`` the chain takes the place of."""
        around = self.shortcut.module if self.shortcut is not None else None
        return (self.conv, self.norm, *(around.modules() if around is not None else ()))

    @property
    def product(self) -> ConvProduct:
        """Geometry of the convolution."""
        assert isinstance(self.conv, BinaryConv2d | PackedConv2d)
        product = self.conv.product
        assert isinstance(product, ConvProduct)
        return product

    def weight_words(self) -> Tensor:
        """Sign words of the weight, int64 (D, kh, kw, ceil(C / 64))."""
        return self.conv.weight_bits if isinstance(self.conv, PackedConv2d) else self._binary.packed_weight()

    def scale(self) -> Tensor | None:
        """α, float32 (D,), or ``None``."""
        return self.conv.alpha if isinstance(self.conv, PackedConv2d) else self._binary.scale()

    @property
    def _binary(self) -> BinaryConv2d:
        assert isinstance(self.conv, BinaryConv2d)
        return self.conv

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, each once, in a fixed order: those of convolution, normalisation, shortcut."""
        yield from self.conv.parameters(recurse=False)
        yield from self.norm.parameters(recurse=False)
        if self.shortcut is not None:
            yield from self.shortcut.parameters()


@dataclass(frozen=True)
class Chain:
    """Blocks in order, and the float normalisation that stands before the first one's sign, if there is one."""

    blocks: tuple[Block, ...] = ()
    entry: nn.BatchNorm2d | None = None

    @property
    def modules(self) -> Iterator[nn.Module]:
        """Modules whose ``forward`` the chain takes the place of."""
        if self.entry is not None:
            yield self.entry
        for block in self.blocks:
            yield from block.modules

    def parameters(self) -> list[nn.Parameter]:
        """All parameters, in a fixed order."""
        own = [] if self.entry is None else list(self.entry.parameters(recurse=False))
        return own + [parameter for block in self.blocks for parameter in block.parameters()]


def obstacle(chain: Chain) -> str:
    """Why blocks cannot run as a chain, whatever the input; empty if they can."""
    for block in chain.blocks:
        reason = _conv_obstacle(block.conv) or _norm_obstacle(block.norm)
        if reason:
            return reason
    if not chain.blocks:
        return "there is no binarised convolution, or something stands between them"
    return "" if chain.entry is None else _norm_obstacle(chain.entry)


def _conv_obstacle(conv: nn.Module) -> str:
    if not isinstance(conv, BinaryConv2d | PackedConv2d):
        return f"{type(conv).__name__} is not binarised"
    product = conv.product
    assert isinstance(product, ConvProduct)
    if product.groups != 1:
        return "a convolution has groups"
    if product.channels * product.kernel_size[0] * product.kernel_size[1] > INT16_MAX:
        return f"a sum of more than {INT16_MAX} products does not fit 16 bits"
    if isinstance(conv, BinaryConv2d):
        return _quantizer_obstacle(conv.method.input_gradient, "sample") or _quantizer_obstacle(
            conv.method.weight_gradient, "channel"
        )
    return ""


def _quantizer_obstacle(quantizer: GradientQuantizer | None, groups: str) -> str:
    if quantizer is None:
        return "gradients stay in full precision"
    if quantizer.groups == "pixel":
        return "gradients are quantised by pixel rows"
    if quantizer.groups != groups:
        return f"a product's gradient has a scale per {quantizer.groups}, inside its sum"
    if quantizer.clip is not None:
        return "gradients are clipped"
    return ""


def _norm_obstacle(norm: nn.Module) -> str:
    if type(norm) is not nn.BatchNorm2d:
        return f"{type(norm).__name__} stands where batch normalisation is needed"
    if not (norm.affine and norm.track_running_stats):
        return "a batch normalisation has no weights or no running statistics"
    return ""


def runtime_obstacle(chain: Chain, x: Tensor) -> str:
    """Why a chain cannot take this input; empty if it can."""
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return f"the input is {x.dtype} on {x.device}"
    if x.dim() != 4 or x.numel() == 0:
        return f"the input has shape {tuple(x.shape)}"
    if any(_hooked(module) for module in chain.modules):
        return "hooks are registered"
    if torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    return ""


def _hooked(module: Any) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
