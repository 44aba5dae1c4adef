"""The forward pass of one block, and what its backward pass needs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.fused.block import Block
from fqt_core.fused.normalization import Normalization, Sums, normalize, running_statistics, synchronises
from fqt_core.fused.shortcut import ShortcutRecord, go_around
from fqt_core.layers import BinaryConv2d
from fqt_core.layers.products import ConvProduct
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
        return _multiply(self.block.product, self.signs, self.weight_words)[0] if self.y is None else self.y


class BlockForward:
    """One forward pass of one block.

    What does not depend on its input is found when it is made: for all blocks of a chain at once, since that takes
    several times as long behind a product, which empties the processor's caches.

    Args:
        block: the block.
        x: the chain's input, samples first.
    """

    def __init__(self, block: Block, x: Tensor) -> None:
        norm, product, words = block.norm, block.product, block.weight_words()
        assert isinstance(norm, nn.BatchNorm2d)
        self._block, self._norm, self._product = block, norm, product
        self._words, self._alpha, self._bias = words, block.scale(), block.bias
        self._window = product.stride, product.padding, product.dilation
        products = product.outputs * product.channels * words.shape[1] * words.shape[2]
        most = DENSE_REPEATED_PRODUCTS if _is_dense(block) else REPEATED_PRODUCTS
        self._keeps_integers = products > most or block.pool
        # A processor finds statistics, those of its own batch, which is surely more than one value.
        self._in_one = waiting.at_once(x) and norm.training and len(x) > 1 and not synchronises(norm)
        self._running, self._affine, self._options = (
            running_statistics(norm),
            (norm.weight, norm.bias),
            (norm.momentum, norm.eps),
        )

    def __call__(self, x: Activation, *, keep: bool) -> tuple[Activation, Record]:
        """Run the block.

        Args:
            x: its input; with floats if the block has a shortcut.
            keep: whether the output's floats are wanted.
        """
        block = self._block
        # The residual is the block's input, which nothing after this wants, or was made for this; h takes its place.
        residual, beside = _around(block, x.floats)
        run = self._run_in_one if self._in_one else self._run_in_steps
        signs, window, h, y, choice, norm = run(x.signs, residual, keep)
        floats = h if residual is None else residual
        size = y.shape[0], y.shape[1]
        if block.pool:
            size = output_sizes(x.signs.shape[:2], self._words.shape[1:3], *self._window)
        kept = y if self._keeps_integers else None
        record = Record(block, x.signs, x.window, self._words, self._alpha, kept, choice, size, norm, beside)
        return Activation(signs, window, floats if keep else None), record

    def _run_in_one(self, signs: Tensor, residual: Tensor | None, keep: bool) -> _Found:
        of_signs, window, h, y, choice, a, b, center, constants = ops.hwnc_block_forward(
            signs,
            self._words,
            self._product.channels,
            *self._window,
            self._block.pool,
            *self._running,
            *self._affine,
            self._alpha,
            self._bias,
            *self._options,
            residual,
            keep,
        )
        torch.autograd.graph.increment_version(self._running[-1])
        norm = Normalization(a, b, center, constants, batch=True)
        return of_signs, window, h, y, choice if self._block.pool else None, norm

    def _run_in_steps(self, signs: Tensor, residual: Tensor | None, keep: bool) -> _Found:
        """The same operation by operation: with running statistics, or with what lies between them."""
        y, first, second = _multiply(self._product, signs, self._words)
        choice = None
        if self._block.pool:
            y, choice, first, second = ops.hwnc_max_pool2d(y, flips(self._alpha, y))
        sums = Sums(first, second, y.shape[0] * y.shape[1] * y.shape[2]) if self._norm.training else None
        norm = normalize(self._norm, self._alpha, self._bias, sums)
        of_signs, window, h = ops.hwnc_affine_sign(y, norm.a, norm.b, residual, keep)
        return of_signs, window, h, y, choice, norm


def _is_dense(block: Block) -> bool:
    """Whether the gradient of the block's input is there for all samples."""
    quantizer = block.conv.quantizers[0] if isinstance(block.conv, BinaryConv2d) else None
    return quantizer is not None and quantizer.keep >= 1


def _multiply(product: ConvProduct, signs: Tensor, words: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return ops.hwnc_binary_conv2d(signs, words, product.channels, product.stride, product.padding, product.dilation)


def _around(block: Block, x: Tensor | None) -> tuple[Tensor | None, ShortcutRecord | None]:
    """The shortcut's output, float32 (H', W', N, D), if there is one; and what its backward pass needs, if anything."""
    if block.shortcut is None or block.shortcut.halving is None:
        return (None if block.shortcut is None else x), None
    assert x is not None
    with threads_for(x.numel()):
        return go_around(block.shortcut.halving.conv, block.shortcut.halving.norm, x)
