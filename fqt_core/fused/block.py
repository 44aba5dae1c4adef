"""One block of a chain: a binarised convolution and what stands between it and the next sign."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fqt_core.config import GradientQuantizer
from fqt_core.layers import BinaryConv2d, PackedConv2d
from fqt_core.layers.products import ConvProduct
from fqt_core.ops import hwnc, native
from fqt_core.ops.hwnc.forward import INT16_MAX
from fqt_core.parallel.batch_norm import SyncBatchNorm2d


@dataclass(frozen=True)
class Halving:
    """A shortcut of its own: a 2x2 average pool that rounds up, a full-precision 1x1 convolution, batch normalisation.

    ``module``: what all of it is part of.
    """

    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    module: nn.Module


@dataclass(frozen=True)
class Shortcut:
    """A way around a block: the input itself, or what ``halving`` makes of it."""

    halving: Halving | None = None

    def parameters(self) -> Iterator[nn.Parameter]:
        """Parameters on the way."""
        if self.halving is not None:
            yield from _own_parameters(self.halving.conv)
            yield from _own_parameters(self.halving.norm)


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
        halving = self.shortcut.halving if self.shortcut is not None else None
        return (self.conv, self.norm, *(halving.module.modules() if halving is not None else ()))

    @cached_property
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
    def bias(self) -> Tensor | None:
        """The convolution's, float32 (D,), or ``None``."""
        return self.conv.bias if isinstance(self.conv, PackedConv2d) else self._binary.bias

    @property
    def _binary(self) -> BinaryConv2d:
        assert isinstance(self.conv, BinaryConv2d)
        return self.conv

    def parameters(self) -> Iterator[nn.Parameter]:
        """All parameters, each once, in a fixed order: those of convolution, normalisation, shortcut."""
        yield from _own_parameters(self.conv)
        yield from _own_parameters(self.norm)
        if self.shortcut is not None:
            yield from self.shortcut.parameters()


@dataclass(frozen=True)
class Stem:
    """A full-precision convolution of the images and, if there is one, the max-pool after it."""

    conv: nn.Conv2d
    pool: nn.MaxPool2d | None = None

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """Modules whose ``forward`` the chain takes the place of."""
        return (self.conv,) if self.pool is None else (self.conv, self.pool)


@dataclass(frozen=True)
class Chain:
    """Blocks in order, and the float normalisation that stands before the first one's sign, if there is one.

    ``stem``: what stands before ``entry`` and takes the images, if the chain runs that as well.
    """

    blocks: tuple[Block, ...] = ()
    entry: nn.BatchNorm2d | None = None
    stem: Stem | None = None

    @property
    def modules(self) -> Iterator[nn.Module]:
        """Modules whose ``forward`` the chain takes the place of."""
        if self.stem is not None:
            yield from self.stem.modules
        if self.entry is not None:
            yield self.entry
        for block in self.blocks:
            yield from block.modules

    def parameters(self) -> list[nn.Parameter]:
        """All parameters, in a fixed order."""
        before = [
            module for module in (None if self.stem is None else self.stem.conv, self.entry) if module is not None
        ]
        own = [parameter for module in before for parameter in _own_parameters(module)]
        return own + [parameter for block in self.blocks for parameter in block.parameters()]


def obstacle(chain: Chain) -> str:
    """Why blocks cannot run as a chain, whatever the input; empty if they can."""
    for block in chain.blocks:
        reason = _conv_obstacle(block.conv) or _norm_obstacle(block.norm) or _shortcut_obstacle(block.shortcut)
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
        of_input, of_weight = conv.quantizers
        return _quantizer_obstacle(of_input, "sample") or _quantizer_obstacle(of_weight, "channel")
    return ""


def _quantizer_obstacle(quantizer: GradientQuantizer | None, groups: str) -> str:
    if quantizer is None:
        return "gradients stay in full precision"
    if quantizer.groups == "pixel":
        return "gradients are quantised by pixel rows"
    if quantizer.groups != groups:
        return f"a product's gradient has a scale per {quantizer.groups}, inside its sum"
    return ""


def _norm_obstacle(norm: nn.Module) -> str:
    if type(norm) not in {nn.BatchNorm2d, SyncBatchNorm2d}:
        return f"{type(norm).__name__} stands where batch normalisation is needed"
    assert isinstance(norm, nn.BatchNorm2d)
    if not (norm.affine and norm.track_running_stats):
        return "a batch normalisation has no weights or no running statistics"
    return ""


def _shortcut_obstacle(shortcut: Shortcut | None) -> str:
    if shortcut is None or shortcut.halving is None:
        return ""
    conv = shortcut.halving.conv
    if type(conv) is not nn.Conv2d or conv.groups != 1 or conv.kernel_size != (1, 1) or conv.stride != (1, 1):
        return "a shortcut's convolution is not 1x1 in full precision"
    return _norm_obstacle(shortcut.halving.norm)


def stem_obstacle(stem: Stem, images: Tensor) -> str:
    """Why a chain cannot run its stem; empty if it can."""
    conv, pool = stem.conv, stem.pool
    if type(conv) is not nn.Conv2d or not (pool is None or (type(pool) is nn.MaxPool2d and not pool.return_indices)):
        return "something else than a convolution and a max-pool stands before the chain"
    if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return "the first convolution has groups, or padding other than zeros on both sides"
    if pool is None and conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1] > 2 * conv.out_channels:
        return "the first convolution's outputs have more inputs than second moments are worth"
    return "the images need a gradient" if images.requires_grad else ""


def device_obstacle(device: torch.device) -> str:
    """Why chains cannot run on a device; empty if they can."""
    if device.type == "cpu":
        return ""
    if device.type != "cuda":
        return f"chains have no kernels on {device.type}"
    missing = native.without_cuda_kernels(name for name in hwnc.__all__ if name not in native.CPU_ONLY)
    return f"there are no CUDA kernels of {', '.join(missing)}" if missing else ""


def runtime_obstacle(chain: Chain, x: Tensor) -> str:
    """Why a chain cannot take this input; empty if it can."""
    if x.dtype != torch.float32:
        return f"the input is {x.dtype}"
    if reason := device_obstacle(x.device):
        return reason
    if x.dim() != 4 or x.numel() == 0:
        return f"the input has shape {tuple(x.shape)}"
    if any(_hooked(module) for module in chain.modules):
        return "hooks are registered"
    if torch.is_autocast_enabled("cuda" if x.is_cuda else "cpu"):
        return "autocast is on"
    return ""


def _own_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """As ``parameters(recurse=False)``, whose search for what is shared takes ten times as long."""
    return (parameter for parameter in module._parameters.values() if parameter is not None)


def _hooked(module: Any) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )
