"""Symmetric quantisation to bytes, without a zero point.

Formula, with m = max |x|, or a clip::

    Δ = m / 127,   q = round(clamp(x, ±m) / Δ) ∈ {-127, …, 127},   x̂ = Δ · q

``round`` is to nearest, ties to even, for weights and activations; stochastic, floor(v + u) with u ~ U[0, 1), for
gradients, whose estimate is then unbiased inside the clip. m = 0 gives zeros.

Source: arXiv 1912.12607, 2102.04782.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.ops.division import divided
from fqt_core.random import PhiloxKey

LEVELS = 127


def scale_of(x: Tensor) -> Tensor:
    """Δ of a whole tensor: float32 ()."""
    if x.numel() == 0:
        return x.new_zeros((), dtype=torch.float32)
    lo, hi = x.aminmax()
    return divided(torch.maximum(-lo, hi).to(torch.float32), LEVELS)


def nearest(x: Tensor, scale: Tensor) -> Tensor:
    """Codes with one scale, float32 (): int8 of the shape and memory format of ``x``."""
    quotient = torch.where(scale > 0, x / scale, 0.0)
    return quotient.round_().clamp_(-LEVELS, LEVELS).to(torch.int8)


def stochastic(g: Tensor, bound: Tensor, dim: int, key: PhiloxKey) -> tuple[Tensor, Tensor]:
    """Codes of a gradient, float32 (N, D, *), finite, not empty; see :func:`fqt_core.ops.quantize_groups`.

    Args:
        g: the gradient.
        bound: m of each group along ``dim``, float32 (groups,), or one for all, (1,); beyond it values are clipped.
        dim: 0 for samples, 1 for channels.
        key: of the random numbers.

    Returns:
        int8 codes, (N, *, D) or (D, N, *), and float32 Δ of the shape of ``bound``.
    """
    scale = divided(bound, LEVELS)
    each = scale.expand(g.shape[dim]).contiguous()
    limit = bound.view([-1 if axis == dim else 1 for axis in range(g.dim())])
    everything = torch.arange(g.shape[dim], dtype=torch.int64, device=g.device)
    inside = torch.clamp(g, -limit, limit)
    codes = ops.quantize_groups(inside, dim, everything, each * -128, each * LEVELS, 8, *key)
    return signed(codes), scale


def signed(codes: Tensor) -> Tensor:
    """uint8 codes less 128, as int8."""
    return codes.bitwise_xor(128).view(torch.int8)
