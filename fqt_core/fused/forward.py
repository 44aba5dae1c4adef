"""The forward pass of one block, and what its backward pass needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from fqt_core import ops
from fqt_core.fused.block import Block
from fqt_core.fused.normalization import Normalization, Sums, normalize


@dataclass(frozen=True)
class Activation:
    """Input of a block: sign and window words, int64 (H, W, N, ceil(C / 64)), and floats if a shortcut takes them."""

    signs: Tensor
    window: Tensor
    floats: Tensor | None


@dataclass(frozen=True)
class Record:
    """What backward needs: bits, and the integers that normalisation needs; no floats but those of a shortcut's own.

    ``y``: int16 (H, W, N, D) at the resolution after pooling; ``choice``: uint8, which of each window it is; ``size``:
    H', W' of the product. ``around``: the graph of a shortcut that has one.
    """

    block: Block
    signs: Tensor
    window: Tensor
    weight_words: Tensor
    alpha: Tensor | None
    y: Tensor
    choice: Tensor | None
    size: tuple[int, int]
    norm: Normalization
    around: ShortcutGraph | None


@dataclass(frozen=True)
class ShortcutGraph:
    """Where gradients leave and enter a shortcut's graph; the values at these places are not kept.

    ``input`` has the input's shape and no memory of its own; ``output`` is the edge that the output hangs from.
    """

    input: Tensor
    output: GradientEdge


class _Values(torch.autograd.Function):
    """Gives values to a tensor that stands for them in the graph."""

    @staticmethod
    def forward(ctx: Any, stand_in: Tensor, values: Tensor) -> Tensor:  # noqa: ARG004 - the interface of autograd
        """``values``, as if made from ``stand_in``."""
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        """The gradient is that of ``stand_in``."""
        return gradient, None


def forward(block: Block, x: Activation, *, keep: bool, graph: bool) -> tuple[Activation, Record]:
    """Run one block.

    Args:
        block: the block.
        x: its input; with floats if the block has a shortcut.
        keep: whether the output's floats are wanted.
        graph: whether a backward pass will follow.
    """
    words, alpha, bias = block.weight_words(), block.scale(), block.conv.bias
    y, choice, size, total, square = multiply(block, x.signs, words, alpha)
    assert isinstance(block.norm, nn.BatchNorm2d)
    sums = Sums(total, square, y.shape[0] * y.shape[1] * y.shape[2]) if block.norm.training else None
    norm = normalize(block.norm, alpha, bias, sums)  # type: ignore[arg-type]
    residual, around = _shortcut(block, x.floats, graph)
    signs, window, h = ops.hwnc_affine_sign(y, norm.a, norm.b, residual, keep)
    record = Record(block, x.signs, x.window, words, alpha, y, choice, size, norm, around)
    return Activation(signs, window, h if keep else None), record


def multiply(
    block: Block, signs: Tensor, words: Tensor, alpha: Tensor | None
) -> tuple[Tensor, Tensor | None, tuple[int, int], Tensor, Tensor]:
    """The binarised convolution, and the pool if there is one: of the largest α · y in each window.

    Returns:
        ``y``, ``choice`` and ``size`` as in :class:`Record`, and the sums Σ y and Σ y² per channel.
    """
    product = block.product
    y, total, square = ops.hwnc_binary_conv2d(
        signs, words, product.channels, product.stride, product.padding, product.dilation
    )
    size, choice = (y.shape[0], y.shape[1]), None
    if block.pool:
        flip = torch.zeros(y.shape[3], dtype=torch.uint8) if alpha is None else (alpha.detach() < 0).to(torch.uint8)
        y, choice, total, square = ops.hwnc_max_pool2d(y, flip)
    return y, choice, size, total, square


def _shortcut(block: Block, x: Tensor | None, graph: bool) -> tuple[Tensor | None, ShortcutGraph | None]:
    """The shortcut's output, and its graph if it has one that backward will go through."""
    if block.shortcut is None:
        return None, None
    assert x is not None
    if block.shortcut.run is None:
        return x, None
    if not graph:
        return block.shortcut.run(x), None
    with torch.enable_grad():
        stand_in = x.new_empty(1).expand(x.shape).requires_grad_()
        values = cast("Tensor", _Values.apply(stand_in, x))  # type: ignore[no-untyped-call]
        output = block.shortcut.run(values)
    return output.detach(), ShortcutGraph(stand_in, get_gradient_edge(output))
