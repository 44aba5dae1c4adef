"""Mean and spread of the gradient of a block's product, without storing it: what clipping needs."""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.geometry import check
from fqt_core.ops.hwnc.forward import check_channel_vectors
from fqt_core.ops.hwnc.gradient import block_gradient
from fqt_core.ops.ranges import group_moments
from fqt_core.ops.registry import operation


def _moments_fake(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    c: Tensor,
    a0: Tensor,
    a1: Tensor,
    alpha: Tensor,
    zeros: int,
    sample_lo: Tensor,
    sample_hi: Tensor,
    lo: Tensor,
    hi: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del g, index, c, a0, a1, alpha, zeros, sample_lo, sample_hi, lo, hi
    samples, channels = (y.new_empty(y.shape[axis], dtype=torch.int64) for axis in (2, 3))
    return samples, torch.empty_like(samples), channels, torch.empty_like(channels)


@operation(
    "hwnc_gradient_moments(Tensor g, Tensor y, Tensor index, Tensor c, Tensor a0, Tensor a1, Tensor alpha, int zeros,"
    " Tensor sample_lo, Tensor sample_hi, Tensor lo, Tensor hi) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_moments_fake,
)
def hwnc_gradient_moments(
    g: Tensor,
    y: Tensor,
    index: Tensor,
    c: Tensor,
    a0: Tensor,
    a1: Tensor,
    alpha: Tensor,
    zeros: int,
    sample_lo: Tensor,
    sample_hi: Tensor,
    lo: Tensor,
    hi: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The sums of :func:`fqt_core.ops.group_moments` of each sample of w and of each channel of v.

    Args:
        g, y, index, c, a0, a1, alpha: as in :func:`hwnc_gradient_range`.
        zeros: pixels at which v is 0 besides those of y: what pooling leaves in each image.
        sample_lo, sample_hi, lo, hi: from :func:`hwnc_gradient_range`.

    Returns:
        int64 (N,) sums of places and of their squares of the samples, (D,) those of the channels.
    """
    check(0 <= zeros <= 2**30, f"zeros must be at least 0 and at most 2**30, got {zeros}")
    check_channel_vectors(y.shape[-1], alpha=alpha, lo=lo, hi=hi)
    v = block_gradient(g, y, index, c, a0, a1).permute(2, 3, 0, 1).contiguous()
    found = []
    ranges = ((0, sample_lo, sample_hi, alpha.view(-1, 1, 1) * v), (1, lo, hi, v))
    for dim, low, high, values in ranges:
        nothing = values.new_zeros((len(low), 1) if dim == 0 else (1, len(low)))
        count = zeros * values.shape[1 - dim]
        sums, places = group_moments(values, dim, low, high), group_moments(nothing, dim, low, high)
        found += [total + count * place for total, place in zip(sums, places, strict=True)]
    first, second, channel_first, channel_second = found
    return first, second, channel_first, channel_second
