"""Learned step sizes (LSQ), and an arctangent in place of the straight-through estimator (LG-LSQ, experimental).

Formula, with codes from -Qn to Qp and a step s::

    v = x / s,   q = round(clamp(v, -Qn, Qp)),   x̂ = s · q          round: to nearest, ties to even
    ∂x̂/∂x = r(v)  inside -Qn < v < Qp, else 0
    ∂x̂/∂s = q - v · r(v)  inside, else -Qn or Qp;                   multiplied by 1 / √(N · Qp)

Signed codes of b bits have Qn = 2**(b-1), Qp = 2**(b-1) - 1; unsigned ones 0 and 2**b - 1. N counts the elements that
share the step: of a weight all, of activations those of one sample. The first step is ``2 · mean |x| / √Qp``.

LSQ is straight-through: r = 1. LG-LSQ takes the slope of a soft round, ``floor(v) + ½ + atan(k·w) / (2·atan(k/2))``
with ``w = v - floor(v) - ½``::

    r(v) = k / ((1 + k²w²) · 2·atan(k/2))

whose mean over a cell is 1, least at the levels and greatest halfway between them. That formula is ours.

Source: S. K. Esser et al., "Learned step size quantization", arXiv 1902.08153; LG-LSQ, arXiv 2202.09009 (its abstract).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core.ops.division import divided


@dataclass(frozen=True)
class Codes:
    """The codes there are: ``lowest`` (-Qn) to ``highest`` (Qp)."""

    lowest: int
    highest: int

    @classmethod
    def of(cls, bits: int, *, signed: bool) -> Codes:
        """Those of ``bits`` bits."""
        half = 1 << (bits - 1)
        return cls(-half, half - 1) if signed else cls(0, 2 * half - 1)


def first_step(x: Tensor, codes: Codes) -> float:
    """Where a step begins; 1 for a tensor of zeros."""
    return float(2 * x.abs().mean() / math.sqrt(codes.highest)) or 1.0


@dataclass(frozen=True)
class StepQuantizer:
    """``sharpness``: k of the soft round; 0 for straight-through."""

    codes: Codes
    sharpness: float = 0.0

    def codes_of(self, x: Tensor, step: Tensor) -> Tensor:
        """q as float32 of the shape of ``x``; ``step``: float32 (), above 0."""
        return (x / step).clamp_(self.codes.lowest, self.codes.highest).round_()

    def gradients(self, x: Tensor, step: Tensor, gradient: Tensor, elements: int) -> tuple[Tensor, Tensor]:
        """dL/dx and dL/ds from dL/dx̂, which is float32 of the shape of ``x``; ``elements``: N."""
        size = step.abs()
        v = x / size
        low, high = v <= self.codes.lowest, v >= self.codes.highest
        inside = ~(low | high)
        slope = self._slope(v)
        of_step = v.clamp(self.codes.lowest, self.codes.highest).round_()
        of_step -= torch.where(inside, v * slope, 0.0)
        total = divided((gradient * of_step).sum() * step.sign(), math.sqrt(elements * self.codes.highest))
        return torch.where(inside, gradient * slope, 0.0), total

    def _slope(self, v: Tensor) -> Tensor:
        if self.sharpness == 0:
            return torch.ones_like(v)
        k = self.sharpness
        w = v - v.floor() - 0.5
        return k / ((1 + (k * w) ** 2) * (2 * math.atan(k / 2)))
