"""Batch normalisation in a chain, from sums whose order is fixed or does not matter.

With Y = α ⊙ y + bias for integers y, and mean and variance of Y (of the batch, or running)::

    inv = 1 / sqrt(var + eps)      h = a · y + b,   a = γ · inv · α,   b = β + γ · inv · (bias - mean)

All of it in float64, per channel; a and b are then rounded to float32. The bias of a convolution has no effect but on
the running mean. At the entry of a chain y are floats, and α is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Moments:
    """Mean and variance of y per channel, float64 (D,), over ``rows`` rows."""

    mean: Tensor
    variance: Tensor
    rows: int

    @classmethod
    def of_sums(cls, first: Tensor, second: Tensor, rows: int, origin: Tensor | None = None) -> Moments:
        """From Σ (y - origin) and Σ (y - origin)², the origin 0 unless given."""
        mean = first.double() / rows
        variance = (second.double() / rows - mean * mean).clamp_(min=0)
        return cls(mean if origin is None else mean + origin.double(), variance, rows)


@dataclass(frozen=True)
class Normalization:
    """One normalisation with its constants; float32 ``a`` and ``b`` for forward, float64 for the rest.

    ``batch``: whether mean and variance are the batch's, so that gradients flow through them.
    """

    a: Tensor
    b: Tensor
    alpha: Tensor
    inverse: Tensor
    gamma: Tensor
    center: Tensor
    rows: int
    batch: bool

    def gradient(self, total: Tensor, moment: Tensor) -> NormalizationGradient:
        """Constants of dL/dY from Σ g and Σ g · (y - center32), float64 (D,); center32 is ``center`` in float32."""
        moment = moment + (self.center.to(torch.float32).double() - self.center) * total
        weight = self.alpha * self.inverse * moment
        c = self.gamma * self.inverse
        if self.batch:
            a1 = c * self.alpha * self.inverse * weight / self.rows
            a0 = c * total / self.rows - a1 * self.center
            bias = torch.zeros_like(c)
        else:
            a0 = a1 = torch.zeros_like(c)
            bias = c * total
        c, a0, a1, weight, shift, bias = (v.to(torch.float32) for v in (c, a0, a1, weight, total, bias))
        return NormalizationGradient(c, a0, a1, weight, shift, bias)


@dataclass(frozen=True)
class NormalizationGradient:
    """``dL/dY = (c · g - a1 · y) - a0``; and the gradients of γ, β and the convolution's bias. float32 (D,)."""

    c: Tensor
    a0: Tensor
    a1: Tensor
    weight: Tensor
    shift: Tensor
    bias: Tensor


def normalize(norm: nn.BatchNorm2d, alpha: Tensor | None, bias: Tensor | None, moments: Moments) -> Normalization:
    """Take up mean and variance: in training the batch's, which go into the running ones, else the running ones.

    Raises:
        ValueError: one row alone has no variance (the words are torch's).
    """
    scale = torch.ones_like(moments.mean) if alpha is None else alpha.detach().double()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if norm.training:
        if moments.rows == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got {moments.rows}")
        center, variance = moments.mean, scale * scale * moments.variance
        offset = -scale * center  # of Y from its mean, at y = 0
        _update_running(norm, -offset if bias is None else bias.detach().double() - offset, variance, moments.rows)
    else:
        variance = norm.running_var.double()
        offset = -norm.running_mean.double() if bias is None else bias.detach().double() - norm.running_mean.double()
        center = torch.where(scale == 0, 0.0, -offset / torch.where(scale == 0, 1.0, scale))
    inverse = 1 / (variance + norm.eps).sqrt()
    gamma, beta = norm.weight.detach().double(), norm.bias.detach().double()
    a, b = _affine(gamma * inverse, beta, scale, offset)
    return Normalization(a, b, scale, inverse, gamma, center, moments.rows, norm.training)


def running_constants(
    rows: Sequence[tuple[nn.BatchNorm2d, Tensor | None, Tensor | None]],
) -> list[tuple[Tensor, Tensor]]:
    """a and b of normalisations that take the running mean and variance: the bits of :func:`normalize`.

    All in one go: for few pixels, small operations on each one's vectors would cost a good part of the products' time.

    Args:
        rows: normalisation, α and bias of each; ``None`` for 1 and 0.
    """
    widths = [norm.num_features for norm, _, _ in rows]

    def joined(vectors: Iterable[Tensor | None]) -> Tensor:
        return torch.cat([vector.detach() for vector in vectors if vector is not None]).double()

    scale = joined(alpha if alpha is not None else torch.ones(norm.num_features) for norm, alpha, _ in rows)
    bias = joined(bias if bias is not None else torch.zeros(norm.num_features) for norm, _, bias in rows)
    eps = torch.tensor([norm.eps for norm, _, _ in rows], dtype=torch.float64).repeat_interleave(torch.tensor(widths))
    offset = bias - joined(norm.running_mean for norm, _, _ in rows)
    inverse = 1 / (joined(norm.running_var for norm, _, _ in rows) + eps).sqrt()
    gamma, beta = joined(norm.weight for norm, _, _ in rows), joined(norm.bias for norm, _, _ in rows)
    a, b = _affine(gamma * inverse, beta, scale, offset)
    return list(zip(torch.split(a, widths), torch.split(b, widths), strict=True))


def _affine(slope: Tensor, beta: Tensor, scale: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """a and b, float32, from float64 γ · inv, β, α, and bias - mean."""
    return (slope * scale).to(torch.float32), (beta + slope * offset).to(torch.float32)


@torch.no_grad()
def _update_running(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, rows: int) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.mul_(1 - momentum).add_(mean.to(torch.float32), alpha=momentum)
    norm.running_var.mul_(1 - momentum).add_((variance * (rows / (rows - 1))).to(torch.float32), alpha=momentum)
