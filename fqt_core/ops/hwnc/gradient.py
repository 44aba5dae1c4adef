"""Backward through batch normalisation and pooling, straight to the codes that the products take.

The gradient of a block's product is never stored as floats. With g = dL/dh (after the straight-through window), present
only for some samples (zero for the others), y the integers before normalisation, and constants of the channel::

    v = (c · g - a1 · y) - a0          dL/dY, which dL/dW takes          (three constants: batch normalisation)
    w = alpha · v                      alpha ⊙ dL/dY, which dL/dX takes

each operation rounded to float32 by itself. With pooling, y, g and v stand at the pooled resolution; at the resolution
of the product, v is at the place that was chosen in each window and 0 at all others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.ops.geometry import check
from fqt_core.ops.hwnc.forward import check_channel_vectors, check_integers
from fqt_core.ops.ranges import group_range
from fqt_core.ops.registry import operation
from fqt_core.ops.rounding import quantize_groups

ROWS_PER_SUM = 64
"""Rows that are added in float32, one after the other, before the sum goes on in float64."""

CODE_PADDING = 4
"""Rows of codes for dL/dW are padded with zeros to a multiple of this, for products that take four at a time."""


def check_rows(g: Tensor, index: Tensor, shape: Sequence[int]) -> None:
    """Refuse what is no gradient float32 (H, W, k, D) of the samples ``index``, rising, among those of ``shape``."""
    height, width, samples, channels = shape
    check(g.dtype == torch.float32 and g.dim() == 4, "g must be float32 with 4 dimensions")
    check(
        tuple(g.shape) == (height, width, index.shape[0], channels),
        f"g must have shape ({height}, {width}, {index.shape[0]}, {channels}), got {tuple(g.shape)}",
    )
    check_index("index", index, samples)


def check_index(name: str, index: Tensor, count: int) -> None:
    """Refuse what are no numbers in [0, count), each greater than the one before."""
    check(index.dtype == torch.int64 and index.dim() == 1, f"{name} must be int64 with 1 dimension")
    entries = index.tolist()
    check(
        all(0 <= i < count for i in entries) and all(i < j for i, j in pairwise(entries)),
        f"{name} must rise, be at least 0 and below {count}",
    )


def _spread(g: Tensor, index: Tensor, samples: int) -> Tensor:
    result = g.new_zeros((*g.shape[:2], samples, g.shape[3]))
    result[:, :, index] = g
    return result


def block_gradient(g: Tensor, y: Tensor, index: Tensor, c: Tensor, a0: Tensor, a1: Tensor) -> Tensor:
    """v at the resolution of y, float32 (H, W, N, D)."""
    check_integers("y", y)
    check_rows(g, index, y.shape)
    check_channel_vectors(y.shape[-1], c=c, a0=a0, a1=a1)
    return (c * _spread(g, index, y.shape[2]) - a1 * y.to(torch.float32)) - a0


def _unpool(v: Tensor, choice: Tensor | None, size: Sequence[int]) -> Tensor:
    """v at the resolution of the product, (H', W', N, D)."""
    if choice is None:
        check(tuple(v.shape[:2]) == tuple(size), f"without pooling, size must be {tuple(v.shape[:2])}, got {size}")
        return v
    check(choice.dtype == torch.uint8 and choice.shape == v.shape, "choice must be uint8 of the shape of y")
    check(
        tuple(v.shape[:2]) == (size[0] // 2, size[1] // 2),
        f"{tuple(v.shape[:2])} pixels are not what pooling leaves of {tuple(size)}",
    )
    height, width, samples, channels = v.shape
    full = v.new_zeros((*size, samples, channels))
    inner = full[: 2 * height, : 2 * width].view(height, 2, width, 2, samples, channels)
    for place in range(4):
        inner[:, place // 2, :, place % 2] = torch.where(choice == place, v, 0.0)
    return full


def _sums_fake(g: Tensor, y: Tensor, index: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    del g, index, center
    return y.new_empty(y.shape[-1], dtype=torch.float64), y.new_empty(y.shape[-1], dtype=torch.float64)


@operation("hwnc_gradient_sums(Tensor g, Tensor y, Tensor index, Tensor center) -> (Tensor, Tensor)", fake=_sums_fake)
def hwnc_gradient_sums(g: Tensor, y: Tensor, index: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Σ g and Σ g · (y - center) of each channel, over all rows (h, w, sample).

    The order of summation is fixed: 64 consecutive rows of g are added one after the other in float32, and these sums
    one after the other in float64. A sum that is not finite tells that g is not.

    Args:
        g: float32 (H, W, k, D).
        y: int16 (H, W, N, D).
        index: int64 (k,), which sample each row of g belongs to, rising.
        center: float32 (D,).

    Returns:
        float64 (D,) twice.
    """
    check_integers("y", y)
    check_rows(g, index, y.shape)
    check_channel_vectors(y.shape[-1], center=center)
    centred = y[:, :, index].to(torch.float32) - center
    return ordered_sum(g), ordered_sum(g * centred)


def ordered_sum(values: Tensor) -> Tensor:
    """Sum over all rows of float32 (*, *, *, C) in the fixed order: float64 (C,)."""
    rows = values.flatten(0, 2)
    if rows.shape[0] == 0:
        return rows.new_zeros(rows.shape[1], dtype=torch.float64)
    rows = functional.pad(rows, (0, 0, 0, -rows.shape[0] % ROWS_PER_SUM)).view(-1, ROWS_PER_SUM, rows.shape[1])
    total = rows[:, 0].clone()
    for row in range(1, ROWS_PER_SUM):
        total += rows[:, row]
    return total.double().cumsum(0)[-1].clone()


def _range_fake(
    g: Tensor, y: Tensor, index: Tensor, c: Tensor, a0: Tensor, a1: Tensor, alpha: Tensor, pooled: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    del index, c, a0, a1, alpha, pooled
    samples, channels = g.new_empty(y.shape[2]), g.new_empty(y.shape[3])
    return samples, torch.empty_like(samples), channels, torch.empty_like(channels), g.new_empty(())


@operation(
    "hwnc_gradient_range(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor alpha, bool pooled)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_range_fake,
)
def hwnc_gradient_range(
    g: Tensor, y: Tensor, index: Tensor, c: Tensor, a0: Tensor, a1: Tensor, alpha: Tensor, pooled: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Least and greatest element of each sample of w and of each channel of v; zeros come out as +0.

    Args:
        g: float32 (H, W, k, D), finite.
        y: int16 (H, W, N, D).
        index: int64 (k,), which sample each row of g belongs to, rising.
        c, a0, a1, alpha: float32 (D,); v and w must be finite.
        pooled: whether the zeros that pooling leaves in every group count.

    Returns:
        float32 (N,) least and greatest of the samples, (D,) least and greatest of the channels; float32 (), the
        greatest of all |least| and |greatest - least|: 0 for a gradient of zeros, infinite if a range does not fit
        float32.
    """
    v = block_gradient(g, y, index, c, a0, a1).permute(2, 3, 0, 1).contiguous()
    check_channel_vectors(y.shape[-1], alpha=alpha)
    sample_lo, sample_hi = group_range(alpha.view(-1, 1, 1) * v, 0)
    channel_lo, channel_hi = group_range(v, 1)
    if pooled:
        sample_lo, channel_lo = sample_lo.clamp(max=0), channel_lo.clamp(max=0)
        sample_hi, channel_hi = sample_hi.clamp(min=0), channel_hi.clamp(min=0)
    extents = torch.cat([sample_lo, channel_lo, sample_hi - sample_lo, channel_hi - channel_lo]).abs()
    reach = extents.nan_to_num(nan=math.inf, posinf=math.inf).amax()
    return sample_lo + 0.0, sample_hi + 0.0, channel_lo + 0.0, channel_hi + 0.0, reach


def _quantize_samples_fake(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    c: Tensor,
    a0: Tensor,
    a1: Tensor,
    alpha: Tensor,
    choice: Tensor | None,
    size: Sequence[int],
    kept: Tensor,
    lo: Tensor,
    hi: Tensor,
    bits: int,
    seed: int,
    step: int,
    layer: int,
    purpose: int,
) -> Tensor:
    del index, c, a0, a1, alpha, choice, lo, hi, bits, seed, step, layer, purpose
    return g.new_empty((*size, kept.shape[0], y.shape[3]), dtype=torch.uint8)


@operation(
    "hwnc_quantize_samples(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor alpha,"
    " Tensor? choice, int[2] size, Tensor kept, Tensor lo, Tensor hi, int bits, int seed, int step, int layer,"
    " int purpose) -> Tensor",
    fake=_quantize_samples_fake,
)
def hwnc_quantize_samples(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    c: Tensor,
    a0: Tensor,
    a1: Tensor,
    alpha: Tensor,
    choice: Tensor | None,
    size: Sequence[int],
    kept: Tensor,
    lo: Tensor,
    hi: Tensor,
    bits: int,
    seed: int,
    step: int,
    layer: int,
    purpose: int,
) -> Tensor:
    """Gather and quantise some samples of w, as :func:`fqt_core.ops.quantize_groups` does: same codes, same numbers.

    Args:
        g, y, index, c, a0, a1, alpha: as in :func:`hwnc_gradient_range`.
        choice: uint8 of the shape of y, from :func:`hwnc_max_pool2d`, or ``None`` without pooling.
        size: H', W' of the product.
        kept: int64 (m,), the samples to keep, rising.
        lo, hi: float32 (m,), their ranges.
        bits: 1 to 8.
        seed, step, layer, purpose: a :class:`fqt_core.random.PhiloxKey`.

    Returns:
        uint8 codes (H', W', m, D).
    """
    w = _unpool(alpha * block_gradient(g, y, index, c, a0, a1), choice, size)
    check_index("kept", kept, y.shape[2])
    groups = w.permute(2, 3, 0, 1).contiguous()
    codes = quantize_groups(groups, 0, kept, lo, hi, bits, seed, step, layer, purpose)
    return codes.permute(1, 2, 0, 3).contiguous()


def _quantize_channels_fake(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    c: Tensor,
    a0: Tensor,
    a1: Tensor,
    choice: Tensor | None,
    size: Sequence[int],
    kept: Tensor,
    lo: Tensor,
    hi: Tensor,
    bits: int,
    seed: int,
    step: int,
    layer: int,
    purpose: int,
) -> Tensor:
    del index, c, a0, a1, choice, lo, hi, bits, seed, step, layer, purpose
    return g.new_empty((*size, kept.shape[0], -(-y.shape[2] // CODE_PADDING) * CODE_PADDING), dtype=torch.uint8)


@operation(
    "hwnc_quantize_channels(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor? choice,"
    " int[2] size, Tensor kept, Tensor lo, Tensor hi, int bits, int seed, int step, int layer, int purpose) -> Tensor",
    fake=_quantize_channels_fake,
)
def hwnc_quantize_channels(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    c: Tensor,
    a0: Tensor,
    a1: Tensor,
    choice: Tensor | None,
    size: Sequence[int],
    kept: Tensor,
    lo: Tensor,
    hi: Tensor,
    bits: int,
    seed: int,
    step: int,
    layer: int,
    purpose: int,
) -> Tensor:
    """Gather and quantise some channels of v, samples side by side.

    The codes are those of :func:`fqt_core.ops.quantize_groups` for v as a matrix (H' · W' · N, D) with groups along
    dimension 1: random numbers are counted by pixel, then sample.

    Args:
        g, y, index, c, a0, a1: as in :func:`hwnc_gradient_range`.
        choice, size, bits, seed, step, layer, purpose: as in :func:`hwnc_quantize_samples`.
        kept: int64 (m,), the channels to keep, rising.
        lo, hi: float32 (m,), their ranges.

    Returns:
        uint8 codes (H', W', m, N'), where N' is N rounded up to a multiple of 4; codes past N are 0.
    """
    v = _unpool(block_gradient(g, y, index, c, a0, a1), choice, size)
    check_index("kept", kept, y.shape[3])
    samples = y.shape[2]
    codes = quantize_groups(v.flatten(0, 2), 1, kept, lo, hi, bits, seed, step, layer, purpose)
    codes = codes.view(-1, *size, samples).permute(1, 2, 0, 3)
    return functional.pad(codes, (0, -samples % CODE_PADDING)).contiguous()
