"""The forward pass of one block, and what its backward pass needs of it."""

from __future__ import annotations

from collections.abc import Sequence
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
from fqt_core.ops.hwnc.chain import FORWARD_RESULTS, entries
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
        self.block, self.norm, self.product = block, norm, product
        self.words, self.alpha, self.bias = words, block.scale(), block.bias
        self.window = product.stride, product.padding, product.dilation
        products = product.outputs * product.channels * words.shape[1] * words.shape[2]
        most = DENSE_REPEATED_PRODUCTS if _is_dense(block) else REPEATED_PRODUCTS
        self._keeps_integers = products > most or block.pool
        # A processor finds statistics, those of its own batch, which is surely more than one value.
        self._in_one = waiting.at_once(x) and norm.training and len(x) > 1 and not synchronises(norm)
        self.running, self.affine = running_statistics(norm), (norm.weight, norm.bias)
        self.momentum, self.eps = norm.momentum, norm.eps

    @property
    def joins(self) -> bool:
        """Whether blocks like this, one after the other, run in one operation (:func:`run_together`)."""
        return self._in_one and self._keeps_integers and self.block.shortcut is None

    def __call__(self, x: Activation, *, keep: bool) -> tuple[Activation, Record]:
        """Run the block.

        Args:
            x: its input; with floats if the block has a shortcut.
            keep: whether the output's floats are wanted.
        """
        # The residual is the block's input, which nothing after this wants, or was made for this; h takes its place.
        residual, beside = _around(self.block, x.floats)
        run = self._run_in_one if self._in_one else self._run_in_steps
        signs, window, h, y, choice, norm = run(x.signs, residual, keep)
        record = self.record(x, y, choice, norm, beside)
        floats = h if residual is None else residual
        return Activation(signs, window, floats if keep else None), record

    def record(
        self, x: Activation, y: Tensor, choice: Tensor | None, norm: Normalization, around: ShortcutRecord | None
    ) -> Record:
        """What backward needs of a pass with the input ``x``."""
        size = y.shape[0], y.shape[1]
        if self.block.pool:
            size = output_sizes(x.signs.shape[:2], self.words.shape[1:3], *self.window)
        kept = y if self._keeps_integers else None
        return Record(self.block, x.signs, x.window, self.words, self.alpha, kept, choice, size, norm, around)

    def _run_in_one(self, signs: Tensor, residual: Tensor | None, keep: bool) -> _Found:
        of_signs, window, h, y, choice, a, b, center, constants = ops.hwnc_block_forward(
            signs,
            self.words,
            self.product.channels,
            *self.window,
            self.block.pool,
            *self.running,
            *self.affine,
            self.alpha,
            self.bias,
            self.momentum,
            self.eps,
            residual,
            keep,
        )
        torch.autograd.graph.increment_version(self.running[-1])
        norm = Normalization(a, b, center, constants, batch=True)
        return of_signs, window, h, y, choice if self.block.pool else None, norm

    def _run_in_steps(self, signs: Tensor, residual: Tensor | None, keep: bool) -> _Found:
        """The same operation by operation: with running statistics, or with what lies between them."""
        y, first, second = _multiply(self.product, signs, self.words)
        choice = None
        if self.block.pool:
            y, choice, first, second = ops.hwnc_max_pool2d(y, flips(self.alpha, y))
        sums = Sums(first, second, y.shape[0] * y.shape[1] * y.shape[2]) if self.norm.training else None
        norm = normalize(self.norm, self.alpha, self.bias, sums)
        of_signs, window, h = ops.hwnc_affine_sign(y, norm.a, norm.b, residual, keep)
        return of_signs, window, h, y, choice, norm


def run_together(passes: Sequence[BlockForward], x: Activation, *, keep: bool) -> tuple[Activation, list[Record]]:
    """Run blocks that :attr:`~BlockForward.joins`, one after the other, in one operation.

    Args:
        passes: at least one.
        x: the first block's input.
        keep: whether the floats of the last block's output are wanted.
    """
    mean, var, batches = zip(*(run.running for run in passes), strict=True)
    h, found = ops.hwnc_chain_forward(
        x.signs,
        [run.words for run in passes],
        [run.product.channels for run in passes],
        [number for run in passes for pair in run.window for number in pair],
        [run.block.pool for run in passes],
        mean,
        var,
        [run.affine[0] for run in passes],
        [run.affine[1] for run in passes],
        [run.alpha for run in passes],
        [run.bias for run in passes],
        [
            1 / (int(count) + 1) if run.momentum is None else run.momentum
            for count, run in zip(batches, passes, strict=True)
        ],
        [run.eps for run in passes],
        keep,
    )
    records: list[Record] = []
    taken_up: list[Tensor] = []
    for run, made in zip(passes, entries(found, FORWARD_RESULTS), strict=True):
        signs, window, y, choice, a, b, center, constants, *running = made
        norm = Normalization(a, b, center, constants, batch=True)
        records.append(run.record(x, y, choice if run.block.pool else None, norm, None))
        x = Activation(signs, window, None)
        taken_up += running
    torch._foreach_add_(batches, 1)
    torch._foreach_copy_([statistic for run in passes for statistic in run.running[:2]], taken_up)
    return Activation(x.signs, x.window, h if keep else None), records


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
