"""The forward pass of one block, and what its backward pass needs of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.fused.block import Block
from fqt_core.fused.normalization import Normalization, Sums, normalize
from fqt_core.fused.shortcut import ShortcutRecord, go_around
from fqt_core.layers import BinaryConv2d
from fqt_core.ops.threads import threads_for

REPEATED_PRODUCTS = 64 * 128 * 3 * 3
"""Backward makes a block's y again, rather than keep it, if a pixel of it takes no more ±1 products than this.

To keep y takes 2 bytes a value, to make it again as many products as it has terms. Few channels stand where images are
still large: the 3x3 convolutions that take 64 channels hold more than half of all y of a ResNet-18, and their products
take about a twentieth of a step. What a pool left is a quarter, made of four times the products.
"""

DENSE_REPEATED_PRODUCTS = 128 * 128 * 3 * 3
"""The same where no sample is pruned: backward needs more memory then, and this is a smaller part of a longer step."""


@dataclass(frozen=True)
class Activation:
    """Input of a block: sign and window words, int64 (H, W, N, ceil(C / 64)), and floats if a shortcut takes them."""

    signs: Tensor
    window: Tensor
    floats: Tensor | None


@dataclass(frozen=True)
class Record:
    """What backward needs: bits, and the integers that normalisation needs; no floats but those of a shortcut's own.

    ``y``: int16 (H, W, N, D) at the resolution after pooling, or ``None`` if backward multiplies again (see
    :data:`REPEATED_PRODUCTS`); ``choice``: uint8, which of each window it is; ``size``: H', W' of the product.
    ``around``: of a shortcut that is more than the input.
    """

    block: Block
    signs: Tensor
    window: Tensor
    weight_words: Tensor
    alpha: Tensor | None
    y: Tensor | None
    choice: Tensor | None
    size: tuple[int, int]
    norm: Normalization
    around: ShortcutRecord | None

    def integers(self) -> Tensor:
        """``y``, kept or made again: they are integers, so both are the same."""
        return _multiply(self.block, self.signs, self.weight_words)[0] if self.y is None else self.y


def forward(block: Block, x: Activation, *, keep: bool) -> tuple[Activation, Record]:
    """Run one block.

    Args:
        block: the block.
        x: its input; with floats if the block has a shortcut.
        keep: whether the output's floats are wanted.
    """
    words, alpha, bias = block.weight_words(), block.scale(), block.conv.bias
    y, choice, size, total, square = _multiply_and_pool(block, x.signs, words, alpha)
    assert isinstance(block.norm, nn.BatchNorm2d)
    sums = Sums(total, square, y.shape[0] * y.shape[1] * y.shape[2]) if block.norm.training else None
    norm = normalize(block.norm, alpha, bias, sums)  # type: ignore[arg-type]
    residual, beside = _around(block, x.floats)
    # The residual is the block's input, which nothing after this wants, or was made for this; h takes its place.
    signs, window, h = ops.hwnc_affine_sign(y, norm.a, norm.b, residual, keep)
    floats = h if residual is None else residual
    products = block.product.outputs * block.product.channels * words.shape[1] * words.shape[2]
    most = DENSE_REPEATED_PRODUCTS if _is_dense(block) else REPEATED_PRODUCTS
    kept = None if products <= most and not block.pool else y
    record = Record(block, x.signs, x.window, words, alpha, kept, choice, size, norm, beside)
    return Activation(signs, window, floats if keep else None), record


def _is_dense(block: Block) -> bool:
    """Whether the gradient of the block's input is there for all samples."""
    quantizer = block.conv.method.input_gradient if isinstance(block.conv, BinaryConv2d) else None
    return quantizer is not None and quantizer.keep >= 1


def _multiply_and_pool(
    block: Block, signs: Tensor, words: Tensor, alpha: Tensor | None
) -> tuple[Tensor, Tensor | None, tuple[int, int], Tensor, Tensor]:
    """The binarised convolution, and the pool if there is one: of the largest α · y in each window.

    Returns:
        ``y``, ``choice`` and ``size`` as in :class:`Record`, and the sums Σ y and Σ y² per channel.
    """
    y, total, square = _multiply(block, signs, words)
    size, choice = (y.shape[0], y.shape[1]), None
    if block.pool:
        flip = torch.zeros(y.shape[3], dtype=torch.uint8) if alpha is None else (alpha.detach() < 0).to(torch.uint8)
        y, choice, total, square = ops.hwnc_max_pool2d(y, flip)
    return y, choice, size, total, square


def _multiply(block: Block, signs: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    product = block.product
    return ops.hwnc_binary_conv2d(signs, words, product.channels, product.stride, product.padding, product.dilation)


def _around(block: Block, x: Tensor | None) -> tuple[Tensor | None, ShortcutRecord | None]:
    """The shortcut's output, float32 (H', W', N, D), if there is one; and what its backward pass needs, if anything."""
    if block.shortcut is None or block.shortcut.halving is None:
        return (None if block.shortcut is None else x), None
    assert x is not None
    with threads_for(x.numel()):
        return go_around(block.shortcut.halving.conv, block.shortcut.halving.norm, x)
