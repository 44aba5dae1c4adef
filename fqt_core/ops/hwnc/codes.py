"""From the gradient of a block's output to the codes of its product's gradient: one operation for what a layer needs.

It is put together from operations that can be called by themselves, and gives what they give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fqt_core.ops.geometry import check
from fqt_core.ops.hwnc.gradient import CODE_PADDING
from fqt_core.ops.registry import OPERATIONS, operation

_Codes: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
_Found: TypeAlias = tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor
]


def _reference(name: str) -> Callable[..., Any]:
    return OPERATIONS[name].reference


def _codes_fake(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    center: Tensor,
    constants: Tensor,
    batch: bool,
    alpha: Tensor,
    choice: Tensor | None,
    size: Sequence[int],
    kept: Sequence[int],
    bits: Sequence[int],
    pruning: str,
    seed: int,
    step: int,
    layer: int,
    purposes: Sequence[int],
) -> _Found:
    del index, center, constants, batch, alpha, choice, bits, seed, step, layer, purposes
    samples, channels = y.shape[2:]
    parameters = (g.new_empty(channels), g.new_empty(channels), g.new_empty(channels))
    counts = kept if pruning in {"topk", "systematic", "bernoulli"} else (samples, channels)
    shapes = (*size, counts[0], channels), (*size, counts[1], -(-samples // CODE_PADDING) * CODE_PADDING)
    codes = (_empty(g, shape, count) for shape, count in zip(shapes, counts, strict=True))
    return (*parameters, g.new_empty(4), *next(codes), *next(codes))


def _empty(g: Tensor, shape: Sequence[int], count: int) -> _Codes:
    index = g.new_empty(count, dtype=torch.int64)
    factor, scale, offset = g.new_empty(count), g.new_empty(count), g.new_empty(count)
    return g.new_empty(shape, dtype=torch.uint8), index, factor, scale, offset


@operation(
    "hwnc_gradient_codes(Tensor g, Tensor y, Tensor index, Tensor center, Tensor constants, bool batch, Tensor alpha,"
    " Tensor? choice, int[2] size, int[2] kept, int[2] bits, str pruning, int seed, int step, int layer,"
    " int[4] purposes) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,"
    " Tensor, Tensor, Tensor)",
    fake=_codes_fake,
)
def hwnc_gradient_codes(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    center: Tensor,
    constants: Tensor,
    batch: bool,
    alpha: Tensor,
    choice: Tensor | None,
    size: Sequence[int],
    kept: Sequence[int],
    bits: Sequence[int],
    pruning: str,
    seed: int,
    step: int,
    layer: int,
    purposes: Sequence[int],
) -> _Found:
    """Gradients of a block's parameters, and the codes of its product's gradient, pruned by samples and by channels.

    It looks at values, so on a GPU it would wait. Ranges are not narrowed.

    Args:
        g, y, index: the gradient of some samples, as of :func:`hwnc_gradient_sums`.
        center, constants: float32 (D,) and float64 (4, D), from :func:`hwnc_normalization`.
        batch: as of :func:`hwnc_normalization_gradient`.
        alpha, choice, size: as of :func:`hwnc_quantize_samples`.
        kept: how many samples and how many channels.
        bits: of the codes of samples and of channels, 1 to 8.
        pruning: how groups are chosen, see :func:`~fqt_core.ops.select_groups`.
        seed, step, layer: of the random numbers.
        purposes: theirs, for choosing samples, for rounding samples, and for the same of channels.

    Returns:
        float32 (D,) the gradients of γ, β and of the convolution's bias; float32 (4,), 1 for sums over g that
        are finite, the reach of :func:`hwnc_gradient_range`, the least and the greatest of all values, or zeros if the
        sums are not finite. Then of samples, and after them of channels: codes, numbers of the groups, their factors
        1 / p, scales and offsets; all of them empty, (0,), if the sums or the reach are not finite, or the reach is 0.
    """
    for name, values, count in (("kept", kept, 2), ("bits", bits, 2), ("purposes", purposes, 4)):
        check(len(values) == count, f"{name} must be {count} numbers, got {len(values)}")
    sums = _reference("hwnc_gradient_sums")(g, y, index, center)
    rows = y.shape[0] * y.shape[1] * y.shape[2]
    c, a0, a1, weight, shift, bias, finite = _reference("hwnc_normalization_gradient")(*sums, constants, rows, batch)
    source = (g, y, index, c, a0, a1)
    if not finite:
        return (weight, shift, bias, g.new_zeros(4), *_empty(g, (0,), 0), *_empty(g, (0,), 0))
    *ranges, reach = _reference("hwnc_gradient_range")(*source, alpha, choice is not None)
    facts = torch.stack([torch.ones_like(reach), reach, ranges[2].amin(), ranges[3].amax()])
    if not math.isfinite(reach) or reach == 0:
        return (weight, shift, bias, facts, *_empty(g, (0,), 0), *_empty(g, (0,), 0))

    def keep(which: int) -> tuple[Tensor, ...]:
        lo, hi = ranges[2 * which : 2 * which + 2]
        key = (seed, step, layer, purposes[2 * which])
        chosen = _reference("select_groups")(lo, hi, kept[which], pruning, *key)
        return (*chosen, *_reference("kept_ranges")(lo, hi, *chosen, bits[which]))

    def rounded(which: int) -> tuple[int, int, int, int, int]:
        return bits[which], seed, step, layer, purposes[2 * which + 1]

    samples, factor, lo, hi, scale, offset = keep(0)
    codes = _reference("hwnc_quantize_samples")(*source, alpha, choice, size, samples, lo, hi, *rounded(0))
    of_samples = codes, samples, factor, scale, offset
    channels, factor, lo, hi, scale, offset = keep(1)
    codes = _reference("hwnc_quantize_channels")(*source, choice, size, channels, lo, hi, *rounded(1))
    return (weight, shift, bias, facts, *of_samples, codes, channels, factor, scale, offset)
