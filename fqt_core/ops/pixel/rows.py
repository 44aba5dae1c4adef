"""Pixel rows of a gradient: how large they are, the kept ones gathered, and their codes under a dither."""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.geometry import check
from fqt_core.ops.ranges import check_gradient, range_mapping
from fqt_core.ops.registry import operation


def row_count(g: Tensor) -> int:
    """Pixel rows of a gradient (N, D, *)."""
    return g.numel() // g.shape[1]


def _square_sums_fake(g: Tensor) -> Tensor:
    return g.new_empty(row_count(g), dtype=torch.float64)


@operation("pixel_square_sums(Tensor g) -> Tensor", fake=_square_sums_fake)
def pixel_square_sums(g: Tensor) -> Tensor:
    """Σ g² over the channels of each pixel row, added in float64 in the order of the channels (each square is exact).

    A sum that is not finite tells that g is not.

    Args:
        g: float32 (N, D, *), not empty.

    Returns:
        float64 (N · *,), sample by sample.
    """
    check_gradient(g, 0)
    total = torch.zeros_like(g[:, 0], dtype=torch.float64)
    for channel in range(g.shape[1]):
        values = g[:, channel].double()
        total += values * values
    return total.flatten()


def _gather_fake(g: Tensor, index: Tensor, factor: Tensor, by_row: bool) -> Tensor:
    del factor
    return g.new_empty((index.shape[0], g.shape[1]) if by_row else (g.shape[1], index.shape[0]))


@operation("pixel_gather(Tensor g, Tensor index, Tensor factor, bool by_row) -> Tensor", fake=_gather_fake)
def pixel_gather(g: Tensor, index: Tensor, factor: Tensor, by_row: bool) -> Tensor:
    """Gather pixel rows and multiply each by its factor 1 / p.

    Args:
        g: float32 (N, D, *), not empty.
        index: int64 (k,), numbers of rows.
        factor: float32 (k,).
        by_row: whether the result has a row for each pixel row, or one for each channel.

    Returns:
        float32 (k, D) or (D, k).
    """
    check_gradient(g, 0)
    check(index.dtype == torch.int64 and index.dim() == 1, "index must be int64 with 1 dimension")
    check(factor.shape == index.shape, "factor must have one entry per kept row")
    check(
        index.numel() == 0 or 0 <= int(index.min()) <= int(index.max()) < row_count(g),
        f"index must be at least 0 and below {row_count(g)}",
    )
    rows = g.flatten(2).movedim(1, -1).reshape(-1, g.shape[1])[index] * factor[:, None]
    return rows if by_row else rows.T.contiguous()


def _dithered_fake(
    values: Tensor, lo: Tensor, hi: Tensor, sign: Tensor, level: Tensor, offset: Tensor, bits: int
) -> Tensor:
    del lo, hi, sign, level, offset, bits
    return torch.empty_like(values, dtype=torch.uint8)


@operation(
    "quantize_dithered(Tensor values, Tensor lo, Tensor hi, Tensor sign, Tensor level, Tensor offset, int bits)"
    " -> Tensor",
    fake=_dithered_fake,
)
def quantize_dithered(
    values: Tensor, lo: Tensor, hi: Tensor, sign: Tensor, level: Tensor, offset: Tensor, bits: int
) -> Tensor:
    """Round to the nearest code after a dither was added: ``q = clamp(rint((t - lo) / Δ + u), 0, L)``, L = 2**bits - 1.

    Element j of group i has the dither ``u = sign[j] · offset[i, level[j]]``. The float32 arithmetic is fixed, with s
    and inv as in :func:`fqt_core.ops.quantize_groups` and ties to even::

        v = min(max(((t - lo) * s) * inv, -1), L + 1)
        q = min(max(rint(v + u), 0), L)

    Args:
        values: float32 (k, m), finite; a group to a row.
        lo, hi: float32 (k,), the range of each group; hi - lo is finite.
        sign: float32 (m,), each -1 or +1.
        level: uint8 (m,), below K.
        offset: float32 (k, K), each between -1/2 and 1/2.
        bits: 1 to 8.

    Returns:
        uint8 (k, m).
    """
    check(values.dtype == torch.float32 and values.dim() == 2, "values must be float32 with 2 dimensions")
    groups, size = values.shape
    check(lo.shape == hi.shape == (groups,), f"lo and hi must have one entry for each of the {groups} groups")
    check(sign.shape == level.shape == (size,), f"sign and level must have one entry for each of {size} elements")
    check(sign.dtype == torch.float32 and level.dtype == torch.uint8, "sign must be float32, level uint8")
    check(offset.dim() == 2 and offset.shape[0] == groups, "offset must have a row for each group")
    check(level.numel() == 0 or int(level.max()) < offset.shape[1], f"level must be below {offset.shape[1]}")
    check(1 <= bits <= 8, f"bits must be 1 to 8, got {bits}")
    levels = (1 << bits) - 1
    scale, inverse = range_mapping(lo, hi, levels)
    places = (((values - lo[:, None]) * scale[:, None]) * inverse[:, None]).clamp(-1, levels + 1)
    dither = sign * offset[:, level.long()]
    return (places + dither).round().clamp(0, levels).to(torch.uint8)
