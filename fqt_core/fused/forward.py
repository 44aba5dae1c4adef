"""The forward pass of one block, and what its backward pass needs of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.fused.block import Block
from fqt_core.fused.normalization import Moments, Normalization, normalize


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
    H', W' of the product. ``fork`` and ``joined``: input and output of a shortcut with a graph of its own.
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
    fork: Tensor | None
    joined: Tensor | None


def forward(block: Block, x: Activation, *, keep: bool, graph: bool) -> tuple[Activation, Record]:
    """Run one block.

    Args:
        block: the block.
        x: its input; with floats if the block has a shortcut.
        keep: whether the output's floats are wanted.
        graph: whether a backward pass will follow.
    """
    product, words = block.product, block.weight_words()
    alpha, bias = block.scale(), block.conv.bias
    y, total, square = ops.hwnc_binary_conv2d(
        x.signs, words, product.channels, product.stride, product.padding, product.dilation
    )
    size, choice = (y.shape[0], y.shape[1]), None
    if block.pool:
        flip = torch.zeros(y.shape[3], dtype=torch.uint8) if alpha is None else (alpha.detach() < 0).to(torch.uint8)
        y, choice, total, square = ops.hwnc_max_pool2d(y, flip)
    moments = Moments.of_sums(total, square, y.shape[0] * y.shape[1] * y.shape[2])
    norm = normalize(block.norm, alpha, bias, moments)  # type: ignore[arg-type]
    fork, joined = _shortcut(block, x.floats, graph)
    residual = None if joined is None else joined.detach()
    signs, window, h = ops.hwnc_affine_sign(y, norm.a, norm.b, residual, keep)
    record = Record(
        block, x.signs, x.window, words, alpha, y, choice, size, norm, fork, joined if fork is not None else None
    )
    return Activation(signs, window, h if keep else None), record


def _shortcut(block: Block, x: Tensor | None, graph: bool) -> tuple[Tensor | None, Tensor | None]:
    """The shortcut's input, if it has a graph, and its output."""
    if block.shortcut is None:
        return None, None
    assert x is not None
    if block.shortcut.run is None:
        return None, x
    if not graph:
        return None, block.shortcut.run(x)
    with torch.enable_grad():
        fork = x.detach().requires_grad_()
        return fork, block.shortcut.run(fork)
