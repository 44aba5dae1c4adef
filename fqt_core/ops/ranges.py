"""Scans over the groups of a gradient. No result depends on the order of summation, so on threads or kernels.

Groups lie along dimension 0 (samples) or 1 (output channels) of G, (N, D, *).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.geometry import check
from fqt_core.ops.registry import operation

MOMENT_LEVELS = 65535
"""Fixed-point steps of a range in :func:`group_moments`. Squares fit 32 bits, so sums of 2**31 of them fit int64."""


def check_gradient(g: Tensor, dim: int) -> None:
    """Refuse what is no gradient with groups along ``dim``."""
    check(g.dtype == torch.float32, f"the gradient must be float32, got {g.dtype}")
    check(g.dim() >= 2, f"the gradient must have at least 2 dimensions, got {g.dim()}")
    check(dim in {0, 1}, f"groups lie along dimension 0 or 1, got {dim}")
    check(g.numel() > 0, f"the gradient is empty: shape {tuple(g.shape)}")


def group_rows(g: Tensor, dim: int) -> Tensor:
    """View or copy G as (groups, elements), in the order in which random numbers are counted.

    Channels come last within a sample (h, w, d), pixels within a channel (n, h, w).
    """
    return g.movedim(1, -1).flatten(1) if dim == 0 else g.transpose(0, 1).flatten(1)


def range_mapping(lo: Tensor, hi: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """Factors that take g - lo to [0, levels]: ``((g - lo) * scale) * inverse``, each operation rounded to float32.

    ``scale`` is an exact power of two that keeps the reciprocal of a range finite and normal: 2**64 where
    0 < hi - lo < 2**-60, 2**-64 where hi - lo > 2**60, else 1. ``inverse`` is ``levels / ((hi - lo) * scale)``, 0 where
    hi <= lo.
    """
    extent = hi - lo
    scale = torch.where((extent > 0) & (extent < 2.0**-60), 2.0**64, 1.0)
    scale = torch.where(extent > 2.0**60, 2.0**-64, scale).to(torch.float32)
    # A number divided by a tensor would be a reciprocal and a product, rounded twice.
    quotient = torch.full_like(extent, float(levels)) / (extent * scale)
    return scale, torch.where(hi > lo, quotient, 0.0)


def _group_range_fake(g: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return g.new_empty(g.shape[dim]), g.new_empty(g.shape[dim])


@operation("group_range(Tensor g, int dim) -> (Tensor, Tensor)", fake=_group_range_fake)
def group_range(g: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Least and greatest element of each group; NaN for a group that holds a NaN. Zeros come out as +0.

    Args:
        g: float32 (N, D, *), not empty.
        dim: 0 for samples, 1 for channels.

    Returns:
        float32 (groups,) least and greatest elements.
    """
    check_gradient(g, dim)
    others = [axis for axis in range(g.dim()) if axis != dim]
    return g.amin(others) + 0.0, g.amax(others) + 0.0


def _group_moments_fake(g: Tensor, dim: int, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    shape = (g.shape[dim],)
    return g.new_empty(shape, dtype=torch.int64), g.new_empty(shape, dtype=torch.int64)


@operation("group_moments(Tensor g, int dim, Tensor lo, Tensor hi) -> (Tensor, Tensor)", fake=_group_moments_fake)
def group_moments(g: Tensor, dim: int, lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of i and of i², where i = rint((g - lo) / (hi - lo) * 65535) places an element within its group's range.

    Integer sums come out the same in whatever order they are taken. The rounding adds at most R²/(12·65535²) to a
    variance; as the range R of n elements is at most 2·sqrt(n)·σ, that is less than one part in a thousand for up to
    2**23 elements.

    The float32 arithmetic is fixed: ``i = min(max(rint(v), 0), 65535)``, ties to even, where v is g as
    :func:`range_mapping` maps it.

    Args:
        g: float32 (N, D, *), finite, not empty, fewer than 2**31 elements per group.
        dim: 0 for samples, 1 for channels.
        lo, hi: float32 (groups,), from :func:`group_range`.

    Returns:
        int64 (groups,) sums of i and of i².
    """
    check_gradient(g, dim)
    check(
        lo.shape == hi.shape == (g.shape[dim],), f"lo and hi must have one entry for each of the {g.shape[dim]} groups"
    )
    rows = group_rows(g, dim)
    scale, inverse = range_mapping(lo, hi, MOMENT_LEVELS)
    places = ((rows - lo[:, None]) * scale[:, None]) * inverse[:, None]
    integers = places.round().clamp(0, MOMENT_LEVELS).to(torch.int64)
    return integers.sum(1), (integers * integers).sum(1)
