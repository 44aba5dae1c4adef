"""Muon for networks with binarised layers: orthogonalised momentum for the latents, Adam for everything else.

Facts (update rule, coefficients) from K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks",
2024 (kellerjordan.github.io/posts/muon). For latents as a matrix W of D rows (output channels) and C·kh·kw columns,
with gradient G, momentum μ and rate η::

    B ← μ B + G + λ W                   λ: the L2 penalty, in the gradient as with the other optimisers
    U = G + λ W + μ B                   Nesterov
    W ← W - η · sqrt(max(1, D / (C·kh·kw))) · orthogonalize(U)

so that a step of a wide matrix (D below C·kh·kw, the usual case) changes every output channel by about η in the
Euclidean norm. The latents are clamped by the training step, as they are with any optimiser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core.training.adam import BinaryAdam

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of the quintic: tuned by Muon's authors to lift small singular values fast; large ones end in 0.7 to 1.2."""

ITERATIONS = 5

_SMALLEST_NORM = 1e-30
"""Keeps a gradient of zeros from being divided by zero; below what float32 gradients reach."""


@torch.no_grad()
def orthogonalize(matrix: Tensor) -> Tensor:
    """The orthogonal factor U Vᵀ of a matrix U S Vᵀ, roughly: its singular values end between 0.68 and 1.21.

    Newton-Schulz iteration from X = matrix / ‖matrix‖_F::

        A = X Xᵀ,    X ← P X  with  P = a I + b A + c A²

    Every P is a polynomial in the first A, so all of them commute, and A itself becomes P A P. The iteration therefore
    runs on the small square matrices alone, Q = P_5 … P_1, and the wide one is multiplied twice in all: 4 r² k + 34 r³
    floating-point operations for r rows and k >= r columns instead of 20 r² k + 10 r³.

    Args:
        matrix: float32 (rows, columns); a tall one is taken transposed.

    Returns:
        float32 of the same shape; zeros for zeros. Singular values below about 1e-3 of the largest are only lifted part
        of the way, as in the original.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    a, b, c = COEFFICIENTS
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(_SMALLEST_NORM)
    gram = x @ x.T
    product: Tensor | None = None
    for iteration in range(ITERATIONS):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        product = polynomial if product is None else polynomial @ product
        if iteration + 1 < ITERATIONS:
            gram = polynomial @ gram @ polynomial
    assert product is not None
    result: Tensor = product @ x
    return result.T if tall else result


class Muon(BinaryAdam):
    """Groups with ``"orthogonal": True`` take the step of this module; all others are :class:`BinaryAdam`'s.

    State of the latents: ``momentum_buffer``, float32, laid out as they are.
    """

    def __init__(self, params: Iterable[dict[str, Any]], *, momentum: float = 0.95) -> None:
        """Prepare; see ``torch.optim.Optimizer`` for ``params``. Each group has ``lr`` and ``weight_decay``."""
        super().__init__(params, ())
        for group in self.param_groups:
            if group.get("orthogonal"):
                group["momentum"] = momentum

    def _step_group(self, group: dict[str, Any]) -> None:
        if not group.get("orthogonal"):
            super()._step_group(group)
            return
        for parameter in group["params"]:
            if parameter.grad is not None:
                self._step_orthogonal(parameter, parameter.grad, group)

    def _step_orthogonal(self, weight: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        gradient = gradient.add(weight, alpha=group["weight_decay"])
        buffer = self._momentum_of(weight).mul_(group["momentum"]).add_(gradient)
        update = gradient.add_(buffer, alpha=group["momentum"])
        # Columns in the order of memory, tap by tap: orthogonalisation does not mind how they are permuted.
        moved = update.movedim(1, -1)
        rows = moved.reshape(moved.shape[0], -1)
        step = orthogonalize(rows).reshape(moved.shape).movedim(-1, 1)
        weight.add_(step, alpha=-group["lr"] * math.sqrt(max(1.0, rows.shape[0] / rows.shape[1])))

    def _momentum_of(self, weight: nn.Parameter) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        return buffer
