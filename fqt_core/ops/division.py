"""Division by a number that every device rounds alike."""

from __future__ import annotations

from torch import Tensor


def divided(x: Tensor, number: float) -> Tensor:
    """``x / number`` in the type of ``x``, float, rounded once: CUDA would multiply by a plain number's reciprocal."""
    return x / x.new_full((), number)
