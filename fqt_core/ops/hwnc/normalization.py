"""Batch normalisation's constants of a block, forward and backward: one operation each for a few vectors.

With Y = α ⊙ y + shift for the values y that are normalised, and mean and variance of Y (of the batch, or running)::

    inv = 1 / sqrt(var + eps)      h = a · y + b,   a = γ · inv · α,   b = β + γ · inv · (shift - mean)

All of it in float64, each operation rounded by itself in the order that the references have; what leaves for forward
and backward is then rounded to float32.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fqt_core.ops.division import divided
from fqt_core.ops.geometry import check
from fqt_core.ops.hwnc.forward import check_channel_vectors
from fqt_core.ops.registry import operation


def _sums(channels: int, **sums: Tensor) -> tuple[Tensor, ...]:
    for name, vector in sums.items():
        check(
            vector.dtype in (torch.int64, torch.float64) and vector.shape == (channels,),
            f"{name} must be int64 or float64 with one entry for each of the {channels} channels",
        )
    return tuple(vector.double() for vector in sums.values())


def _constants_fake(
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    alpha: Tensor | None,
    shift: Tensor | None,
    origin: Tensor | None,
    first: Tensor | None,
    second: Tensor | None,
    rows: int,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del running_var, bias, alpha, shift, origin, first, second, rows, momentum, eps
    a = torch.empty_like(running_mean)
    return a, torch.empty_like(a), torch.empty_like(a), weight.new_empty((4, len(a)), dtype=torch.float64)


@operation(
    "hwnc_normalization(Tensor(a!) running_mean, Tensor(b!) running_var, Tensor weight, Tensor bias, Tensor? alpha,"
    " Tensor? shift, Tensor? origin, Tensor? first, Tensor? second, int rows, float momentum, float eps)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_constants_fake,
)
def hwnc_normalization(
    running_mean: Tensor,
    running_var: Tensor,
    weight: Tensor,
    bias: Tensor,
    alpha: Tensor | None,
    shift: Tensor | None,
    origin: Tensor | None,
    first: Tensor | None,
    second: Tensor | None,
    rows: int,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Constants of a batch normalisation, which takes the batch's mean and variance, or without sums the running ones.

    Args:
        running_mean, running_var: float32 (D,), contiguous; with sums they take up the batch's in place, in float64:
            ``(1 - momentum) · running + momentum · batch``, the variance that of a sample (divided by rows - 1).
        weight, bias: float32 (D,), γ and β.
        alpha, shift: float32 (D,), ``None`` for 1 and 0.
        origin: float32 (D,), of the sums; ``None`` for 0.
        first, second: int64 or float64 (D,), Σ (y - origin) and Σ (y - origin)²; both ``None`` for running ones.
        rows: how many values of each channel the sums are over, at least 2.
        momentum, eps: as of ``torch.nn.BatchNorm2d``.

    Returns:
        a, b, and the y of which Y is the mean (0 for α = 0), float32 (D,); float64 (4, D): α, inv, γ and this y, which
        :func:`hwnc_normalization_gradient` takes.
    """
    channels = running_mean.shape[0]
    given = {"alpha": alpha, "shift": shift, "origin": origin}
    check_channel_vectors(channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_channel_vectors(channels, **{name: vector for name, vector in given.items() if vector is not None})
    zero = torch.zeros_like(running_mean, dtype=torch.float64)
    scale = zero + 1 if alpha is None else alpha.double()
    shifted = zero if shift is None else shift.double()
    if first is None or second is None:
        check(first is None and second is None, "first and second go together")
        variance = running_var.double()
        offset = shifted - running_mean.double()
        center = torch.where(scale == 0, 0.0, -offset / torch.where(scale == 0, 1.0, scale))
    else:
        check(rows >= 2, f"rows must be at least 2, got {rows}")
        total, square = _sums(channels, first=first, second=second)
        mean = divided(total, rows)
        center = mean if origin is None else mean + origin.double()
        variance = scale * scale * (divided(square, rows) - mean * mean).clamp(min=0)
        offset = -(scale * center)
        for running, batch in ((running_mean, shifted - offset), (running_var, variance * (rows / (rows - 1)))):
            running.copy_((1 - momentum) * running.double() + momentum * batch)
    # torch's root may be that of a library that does not always find the nearest number.
    inverse = 1 / torch.from_numpy(np.sqrt((variance + eps).numpy()))
    gamma = weight.double()
    slope = gamma * inverse
    a, b = slope * scale, bias.double() + slope * offset
    vectors = (vector.to(torch.float32) for vector in (a, b, center))
    return *vectors, torch.stack([scale, inverse, gamma, center])  # type: ignore[return-value]


def _gradient_fake(
    total: Tensor, moment: Tensor, constants: Tensor, rows: int, batch: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    del moment, constants, rows, batch
    c, a0, a1, weight, shift, bias = (torch.empty_like(total, dtype=torch.float32) for _ in range(6))
    return c, a0, a1, weight, shift, bias, total.new_empty((), dtype=torch.bool)


@operation(
    "hwnc_normalization_gradient(Tensor total, Tensor moment, Tensor constants, int rows, bool batch)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_gradient_fake,
)
def hwnc_normalization_gradient(
    total: Tensor, moment: Tensor, constants: Tensor, rows: int, batch: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Constants of ``dL/dY = (c · g - a1 · y) - a0`` with g = dL/dh, and the gradients of the parameters.

    Args:
        total, moment: float64 (D,), Σ g and Σ g · (y - center), the center as float32 has it.
        constants: float64 (4, D), from :func:`hwnc_normalization`.
        rows: how many values each channel has.
        batch: whether mean and variance were the batch's, so that gradients flow through them.

    Returns:
        c, a0, a1, and the gradients of γ, of β and of the shift, float32 (D,); bool (), whether all sums are finite.
    """
    channels = total.shape[0]
    total, moment = _sums(channels, total=total, moment=moment)
    check(
        constants.dtype == torch.float64 and constants.shape == (4, channels),
        f"constants must be float64 with 4 rows for the {channels} channels",
    )
    check(rows >= 1, f"rows must be at least 1, got {rows}")
    finite = (torch.isfinite(total) & torch.isfinite(moment)).all()
    scale, inverse, gamma, center = constants
    moment = moment + (center.to(torch.float32).double() - center) * total
    weight = scale * inverse * moment
    c = gamma * inverse
    if batch:
        a1 = c * scale * inverse * weight / rows
        a0 = c * total / rows - a1 * center
        shift = torch.zeros_like(c)
    else:
        a0, a1 = torch.zeros_like(c), torch.zeros_like(c)
        shift = c * total
    vectors = (vector.to(torch.float32) for vector in (c, a0, a1, weight, total, shift))
    return *vectors, finite  # type: ignore[return-value]
