"""Affine quantisation of gathered groups with stochastic rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.geometry import check
from fqt_core.ops.ranges import check_gradient, group_rows, range_mapping
from fqt_core.ops.registry import operation
from fqt_core.random import PhiloxKey, uniform


def rounded(rows: Tensor, lo: Tensor, hi: Tensor, bits: int, u: Tensor) -> Tensor:
    """The codes of :func:`quantize_groups`, uint8 (k, m), of rows with random numbers u, both float32 (k, m)."""
    levels = (1 << bits) - 1
    scale, inverse = range_mapping(lo, hi, levels)
    value = (((rows - lo[:, None]) * scale[:, None]) * inverse[:, None]).clamp(0, levels)
    return (value + u).floor().clamp(max=levels).to(torch.uint8)


def _quantize_fake(
    g: Tensor,
    dim: int,
    index: Tensor,
    lo: Tensor,  # noqa: ARG001 - the operation's signature
    hi: Tensor,  # noqa: ARG001
    bits: int,  # noqa: ARG001
    seed: int,  # noqa: ARG001
    step: int,  # noqa: ARG001
    layer: int,  # noqa: ARG001
    purpose: int,  # noqa: ARG001
) -> Tensor:
    shape = (*g.shape[2:], g.shape[1]) if dim == 0 else (g.shape[0], *g.shape[2:])
    return g.new_empty((index.shape[0], *shape), dtype=torch.uint8)


@operation(
    "quantize_groups(Tensor g, int dim, Tensor index, Tensor lo, Tensor hi, int bits, int seed, int step, int layer,"
    " int purpose) -> Tensor",
    fake=_quantize_fake,
)
def quantize_groups(
    g: Tensor,
    dim: int,
    index: Tensor,
    lo: Tensor,
    hi: Tensor,
    bits: int,
    seed: int,
    step: int,
    layer: int,
    purpose: int,
) -> Tensor:
    """Gather some groups of G and quantise them: q = SR((g - lo) / Δ), Δ = (hi - lo) / (2**bits - 1).

    The float32 arithmetic is fixed, operation by operation and without fused multiply-add, so that every kernel gives
    the same integers. With L = 2**bits - 1, once per group::

        s   = 2**64 if 0 < hi - lo < 2**-60, 2**-64 if hi - lo > 2**60, else 1      (1 / Δ stays finite and normal)
        inv = L / ((hi - lo) * s)                     (0 if hi <= lo: such a group is exactly lo, with codes 0)

    and per element, with u in [0, 1) from Philox (layout and order of elements: :mod:`fqt_core.random`; the number of
    a group is its number in G, whatever was kept)::

        v = min(max(((g - lo) * s) * inv, 0), L)
        q = min(floor(v + u), L)

    Args:
        g: float32 (N, D, *), finite, not empty.
        dim: 0: groups are samples; 1: groups are channels.
        index: int64 (k,), the groups that are kept.
        lo, hi: float32 (k,), the range of each **kept** group; hi - lo is finite.
        bits: 1 to 8.
        seed, step, layer, purpose: a :class:`fqt_core.random.PhiloxKey`.

    Returns:
        uint8 codes: (k, *, D) for samples, channels last; (k, N, *) for channels.
    """
    check_gradient(g, dim)
    check(1 <= bits <= 8, f"bits must be 1 to 8, got {bits}")
    check(index.dtype == torch.int64 and index.dim() == 1, "index must be int64 with 1 dimension")
    check(lo.shape == hi.shape == index.shape, "lo and hi must have one entry per kept group")
    check(
        index.numel() == 0 or 0 <= int(index.min()) <= int(index.max()) < g.shape[dim],
        f"index must be at least 0 and below {g.shape[dim]}",
    )
    rows = group_rows(g.index_select(dim, index), dim)
    size = rows.shape[1]
    check(g.shape[dim] * -(-size // 4) <= 1 << 32, "the gradient has more elements than one random sequence")
    codes = rounded(rows, lo, hi, bits, uniform(PhiloxKey(seed, step, layer, purpose), index, size))
    shape = (*g.shape[2:], g.shape[1]) if dim == 0 else (g.shape[0], *g.shape[2:])
    return codes.reshape(index.shape[0], *shape)
