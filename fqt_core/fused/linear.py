"""Batch normalisation of a linear map, from the second moments of its input.

Rows u end in a 1, so that the bias is W's last column, and x = W u goes through a batch normalisation. With M = Σ u uᵀ,
m its last column and P = Σ g uᵀ for g = dL/dh::

    mean = W m / rows                Σ (x - mean)² = diag((W M - mean mᵀ) Wᵀ)
    dL/dx = (c · g - a1 · x) - a0    dL/dW = c ⊙ P - a1 ⊙ (W M) - a0 mᵀ

So backward needs neither x nor dL/dx, which are far larger than u where few inputs make many outputs. M and P are sums
of float32 products; from there on everything is float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from fqt_core.fused.normalization import Normalization, NormalizationGradient, Sums, normalize
from fqt_core.ops.division import divided


@dataclass(frozen=True)
class LinearMap:
    """W, float64 (D, K + 1), and M, float64 (K + 1, K + 1), of ``rows`` rows u."""

    weight: Tensor
    moments: Tensor
    rows: int

    @cached_property
    def products(self) -> Tensor:
        """W M = Σ x uᵀ, float64 (D, K + 1)."""
        return self.weight @ self.moments

    def normalize(self, norm: nn.BatchNorm2d) -> Normalization:
        """The constants of ``norm`` for x; in training it takes up mean and variance as in any step."""
        if not norm.training:
            return normalize(norm, None, None, None)
        mean = divided(self.products[:, -1], self.rows)
        square = ((self.products - torch.outer(mean, self.moments[-1])) * self.weight).sum(1)
        origin = mean.to(torch.float32)
        rest = mean - origin.double()
        sums = Sums(self.rows * rest, square + self.rows * rest * rest, self.rows, origin)
        return normalize(norm, None, None, sums)

    def gradient(self, norm: Normalization, products: Tensor) -> tuple[NormalizationGradient, Tensor]:
        """The normalisation's gradient, and dL/dW, float64 (D, K + 1), from P, float64 (D, K + 1)."""
        total = products[:, -1]
        moment = (self.weight * products).sum(1) - norm.center.double() * total
        gradient = norm.gradient(total, moment, self.rows)
        c, a0, a1 = (constant.double().unsqueeze(1) for constant in (gradient.c, gradient.a0, gradient.a1))
        return gradient, c * products - a1 * self.products - a0 * self.moments[-1]
