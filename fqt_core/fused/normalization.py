"""Batch normalisation in a chain: its modules and the operations that find their constants."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.fused.constants import kept
from fqt_core.ops.division import divided
from fqt_core.ops.hwnc.block import count_batch
from fqt_core.parallel.batch_norm import SyncBatchNorm2d, combined, summed


@dataclass(frozen=True)
class Sums:
    """Of the batch: Σ (y - origin) and Σ (y - origin)² per channel, int64 or float64 (D,), over ``rows`` rows."""

    first: Tensor
    second: Tensor
    rows: int
    origin: Tensor | None = None

    def of_all(self) -> Sums:
        """The same over the batches of all processes that train together. Sums of integers without origin are exact."""
        if self.origin is None and self.first.dtype == torch.int64:
            first, second, rows = summed(torch.stack([self.first, self.second, torch.full_like(self.first, self.rows)]))
            return Sums(first, second, int(rows[0]))
        first, second = self.first.double(), self.second.double()
        offset = divided(first, self.rows)
        mean = offset if self.origin is None else offset + self.origin.double()
        rows, mean, deviation = combined(self.rows, mean, second - offset * first)
        origin = mean.to(torch.float32)
        rest = mean - origin.double()
        return Sums(rows * rest, deviation + rows * rest * rest, rows, origin)


@dataclass(frozen=True)
class Normalization:
    """``h = a · y + b`` of one normalisation, and what its gradient needs; float32 ``a``, ``b``, ``center`` (D,).

    ``constants``: see :func:`fqt_core.ops.hwnc_normalization`. ``batch``: whether mean and variance are the batch's, so
    that gradients flow through them. ``together``: whether they are of the batches of all processes.
    """

    a: Tensor
    b: Tensor
    center: Tensor
    constants: Tensor
    batch: bool
    together: bool = False

    def gradient(self, total: Tensor, moment: Tensor, rows: int) -> NormalizationGradient:
        """From Σ g and Σ g · (y - center), float64 (D,), over ``rows`` rows."""
        if self.together:
            return self._gradient_of_all(total.double(), moment.double(), rows)
        return self._gradient(total, moment, rows)

    def _gradient_of_all(self, total: Tensor, moment: Tensor, rows: int) -> NormalizationGradient:
        """What flows on is by the sums of all processes; the parameters' gradients are of this one."""
        sums = summed(torch.stack([total, moment, torch.full_like(total, rows)]))
        through, own = self._gradient(sums[0], sums[1], int(sums[2, 0])), self._gradient(total, moment, rows)
        return replace(through, weight=own.weight, shift=own.shift, bias=own.bias)

    def _gradient(self, total: Tensor, moment: Tensor, rows: int) -> NormalizationGradient:
        return NormalizationGradient(*ops.hwnc_normalization_gradient(total, moment, self.constants, rows, self.batch))


@dataclass(frozen=True)
class NormalizationGradient:
    """``dL/dY = (c · g - a1 · y) - a0``; and the gradients of γ, β and the convolution's bias. float32 (D,).

    ``finite``: bool (), whether g is finite.
    """

    c: Tensor
    a0: Tensor
    a1: Tensor
    weight: Tensor
    shift: Tensor
    bias: Tensor
    finite: Tensor


def normalize(norm: nn.BatchNorm2d, alpha: Tensor | None, bias: Tensor | None, sums: Sums | None) -> Normalization:
    """Take up mean and variance: with sums the batch's, which go into the running ones, else the running ones.

    The constants of running ones are kept for the next batch.

    Args:
        norm: the module.
        alpha, bias: of the convolution before it, float32 (D,), or ``None``.
        sums: of the batch.

    Raises:
        ValueError: one row alone has no variance (the words are torch's).
    """
    if sums is None:
        return kept(norm, running_sources(norm, alpha, bias), norm.eps, lambda: _found(norm, alpha, bias, None))
    return _found(norm, alpha, bias, sums)


def running_sources(norm: nn.BatchNorm2d, *others: Tensor | None) -> tuple[Tensor | None, ...]:
    """All tensors that the constants of running statistics are made of; ``others`` are those of what stands before.

    Among them is the number of batches: it is counted up wherever the running statistics take up a batch.
    """
    return *running_statistics(norm), norm.weight, norm.bias, *others


def running_statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance, and the number of batches, of a normalisation that tracks them."""
    mean, var, batches = norm.running_mean, norm.running_var, norm.num_batches_tracked
    assert mean is not None
    assert var is not None
    assert batches is not None
    return mean, var, batches


def synchronises(norm: nn.BatchNorm2d) -> bool:
    """Whether a normalisation takes statistics over all processes that train together."""
    return isinstance(norm, SyncBatchNorm2d) and norm.synchronises


@torch.no_grad()
def _found(norm: nn.BatchNorm2d, alpha: Tensor | None, bias: Tensor | None, sums: Sums | None) -> Normalization:
    together = sums is not None and synchronises(norm)
    if together:
        assert sums is not None
        sums = sums.of_all()
    mean, var, batches = running_statistics(norm)
    momentum, first, second, rows, origin = 0.0, None, None, 0, None
    if sums is not None:
        first, second, rows, origin = sums.first, sums.second, sums.rows, sums.origin
        if rows == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got {rows}")
        momentum = count_batch(batches, norm.momentum)
    around = alpha, bias, origin
    found = ops.hwnc_normalization(mean, var, norm.weight, norm.bias, *around, first, second, rows, momentum, norm.eps)
    return Normalization(*found, sums is not None, together)
