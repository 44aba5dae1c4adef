"""Affine quantisation of a group of gradients with stochastic rounding.

Formula, with b bits::

    z = lo,  Δ = (hi - lo) / (2**b - 1)          lo, hi: least and greatest element, or the clipped range
    q = floor((g - z) / Δ + u) ∈ {0, …, 2**b - 1},  u ~ U[0, 1)
    ĝ = z + Δ · q                                 E[ĝ] = g inside the range, Var[ĝ] ≤ Δ² / 4

A group with Δ = 0 is exactly z. No epsilon is added anywhere.

``clip = c`` narrows the range to [mean - c·σ, mean + c·σ] (never widens it): a small bias for much less variance.

Source: arXiv 2010.14298 (per-sample quantiser); arXiv 2408.14267.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.ops.division import divided
from fqt_core.ops.ranges import MOMENT_LEVELS


def clipped_range(g: Tensor, dim: int, lo: Tensor, hi: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Narrow each group's range to mean ± clip·σ.

    Mean and σ come from exact integer sums (:func:`fqt_core.ops.group_moments`) and correctly rounded float64
    operations, so the result does not depend on the order of summation.

    Args:
        g: float32 (N, D, *), finite.
        dim: 0: groups are samples; 1: groups are channels.
        lo, hi: float32 (groups,), least and greatest elements.
        clip: c, in standard deviations.

    Returns:
        float32 (groups,) lo and hi.
    """
    first, second = ops.group_moments(g, dim, lo, hi)
    return narrowed(lo, hi, first, second, g.numel() // g.shape[dim], clip)


def narrowed(lo: Tensor, hi: Tensor, first: Tensor, second: Tensor, count: int, clip: float) -> tuple[Tensor, Tensor]:
    """The same from the sums of :func:`fqt_core.ops.group_moments`, int64 (groups,), of ``count`` elements each."""
    mean = divided(first.double(), count)
    sigma = (divided(second.double(), count) - mean * mean).clamp(min=0).sqrt()
    unit = divided(hi.double() - lo.double(), MOMENT_LEVELS)
    low = (lo.double() + (mean - clip * sigma) * unit).to(torch.float32)
    high = (lo.double() + (mean + clip * sigma) * unit).to(torch.float32)
    return torch.maximum(lo, low), torch.minimum(hi, high)
