"""The forward pass of one block, and what its backward pass needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor, nn

from fqt_core import ops
from fqt_core.fused.block import Block
from fqt_core.fused.normalization import Normalization, Sums, count_batch, normalize, synchronises
from fqt_core.fused.shortcut import ShortcutRecord, go_around
from fqt_core.layers import BinaryConv2d
from fqt_core.ops import waiting
from fqt_core.ops.geometry import output_sizes
from fqt_core.ops.hwnc.block import flips
from fqt_core.ops.threads import threads_for

REPEATED_PRODUCTS = 64 * 128 * 3 * 3
"""Backward makes a block's y again, rather than keep it, if a pixel of it takes no more ±1 products than this.

To keep y takes 2 bytes a value, to make it again as many products as it has terms. Few channels stand where images are
still large: the 3x3 convolutions that take 64 channels hold more than half of all y of a ResNet-18, and their products
take about a twentieth of a step. What a pool left is a quarter, made of four times the products.
"""

DENSE_REPEATED_PRODUCTS = 128 * 128 * 3 * 3
"""The same where no sample is pruned: backward needs more memory then, and this is a smaller part of a longer step."""


_Found: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Normalization]


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
    words, alpha, product = block.weight_words(), block.scale(), block.product
    # The residual is the block's input, which nothing after this wants, or was made for this; h takes its place.
    residual, beside = _around(block, x.floats)
    run = _in_one if _takes_batch_alone(block, x.signs) else _in_steps
    signs, window, h, y, choice, norm = run(block, x.signs, words, alpha, residual, keep)
    floats = h if residual is None else residual
    products = product.outputs * product.channels * words.shape[1] * words.shape[2]
    most = DENSE_REPEATED_PRODUCTS if _is_dense(block) else REPEATED_PRODUCTS
    kept = None if products <= most and not block.pool else y
    size = output_sizes(x.signs.shape[:2], words.shape[1:3], product.stride, product.padding, product.dilation)
    record = Record(block, x.signs, x.window, words, alpha, kept, choice, size, norm, beside)
    return Activation(signs, window, floats if keep else None), record


def _is_dense(block: Block) -> bool:
    """Whether the gradient of the block's input is there for all samples."""
    quantizer = block.conv.method.input_gradient if isinstance(block.conv, BinaryConv2d) else None
    return quantizer is not None and quantizer.keep >= 1


def _takes_batch_alone(block: Block, signs: Tensor) -> bool:
    """Whether a processor finds a block's statistics, those of its own batch, which is surely more than one value."""
    assert isinstance(block.norm, nn.BatchNorm2d)
    return waiting.at_once(signs) and block.norm.training and signs.shape[2] > 1 and not synchronises(block.norm)


def _in_one(
    block: Block, signs: Tensor, words: Tensor, alpha: Tensor | None, residual: Tensor | None, keep: bool
) -> _Found:
    norm, product = block.norm, block.product
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    of_signs, window, h, y, choice, a, b, center, constants = ops.hwnc_block_forward(
        signs,
        words,
        product.channels,
        product.stride,
        product.padding,
        product.dilation,
        block.pool,
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        alpha,
        block.bias,
        count_batch(norm),
        norm.eps,
        residual,
        keep,
    )
    normalization = Normalization(a, b, center, constants, batch=True)
    return of_signs, window, h, y, choice if block.pool else None, normalization


def _in_steps(
    block: Block, signs: Tensor, words: Tensor, alpha: Tensor | None, residual: Tensor | None, keep: bool
) -> _Found:
    """The same operation by operation: with running statistics, or with what lies between them."""
    y, first, second = _multiply(block, signs, words)
    choice = None
    if block.pool:
        y, choice, first, second = ops.hwnc_max_pool2d(y, flips(alpha, y))
    assert isinstance(block.norm, nn.BatchNorm2d)
    sums = Sums(first, second, y.shape[0] * y.shape[1] * y.shape[2]) if block.norm.training else None
    norm = normalize(block.norm, alpha, block.bias, sums)
    of_signs, window, h = ops.hwnc_affine_sign(y, norm.a, norm.b, residual, keep)
    return of_signs, window, h, y, choice, norm


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
