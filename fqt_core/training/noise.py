"""How far a quantised gradient is from the exact one, estimated from a few independent draws.

With g the exact product, ĝ_1 … ĝ_K independent draws of the quantised one and e_k = ĝ_k - g, as squared norms relative
to that of g::

    variance   E‖ĝ - E ĝ‖² / ‖g‖²    ≈ Σ_k ‖e_k - mean e‖² / ((K - 1) · ‖g‖²)
    bias²      ‖E ĝ - g‖² / ‖g‖²     ≈ Σ_{j ≠ k} ⟨e_j, e_k⟩ / (K · (K - 1) · ‖g‖²)
    cosine     E cos(ĝ, g)           ≈ mean_k ⟨ĝ_k, g⟩ / (‖ĝ_k‖ · ‖g‖)

Both first estimates are unbiased, whatever the distribution; so that of bias² may come out below zero where the truth
is near it. Their sum estimates the mean squared error E‖ĝ - g‖² / ‖g‖².
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class GradientNoise:
    """Takes in one exact gradient and then draws of its quantised form, any shape, float32; keeps one sum of them."""

    def __init__(self, exact: Tensor) -> None:
        self._exact = exact
        self._square = _inner(exact, exact)
        self.restart()

    def restart(self) -> None:
        """Forget the draws."""
        self._sum: Tensor | None = None
        self._squares = 0.0
        self._cosines = 0.0
        self._draws = 0

    def add(self, draw: Tensor) -> None:
        """Take in one draw."""
        self._draws += 1
        if self._square == 0:
            return
        error = draw - self._exact
        square, along = _inner(error, error), _inner(error, self._exact)
        length = math.sqrt(max(0.0, square + 2 * along + self._square) * self._square)  # ‖ĝ‖ · ‖g‖
        if length > 0:
            self._cosines += max(-1.0, min(1.0, (along + self._square) / length))
        self._squares += square / self._square
        self._sum = error if self._sum is None else self._sum.add_(error)

    def figures(self, name: str) -> dict[str, float]:
        """The three figures, named ``<name>_relative_variance``, ``<name>_squared_bias`` and ``<name>_cosine``.

        Empty if the exact gradient is zero, to which nothing can be relative, or after fewer than two draws, or
        where a figure would not be finite.
        """
        k = self._draws
        if self._sum is None or k < 2:
            return {}
        total = _inner(self._sum, self._sum) / self._square
        found = {
            f"{name}_relative_variance": (self._squares - total / k) / (k - 1),
            f"{name}_squared_bias": (total - self._squares) / (k * (k - 1)),
            f"{name}_cosine": self._cosines / k,
        }
        return found if all(map(math.isfinite, found.values())) else {}


def _inner(one: Tensor, other: Tensor) -> float:
    return float(torch.vdot(one.reshape(-1), other.reshape(-1)))
