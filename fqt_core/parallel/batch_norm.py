"""Batch normalisation over the images of all processes that train together, on any device and in fused chains.

``torch.nn.SyncBatchNorm`` does not run on CPUs. With n images of each process, their mean m and their sum of squared
deviations s, those of all N = Σ n are::

    mean = Σ n m / N      Σ (x - mean)² = Σ (s + n (m - mean)²)

Source: T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", 1979.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncBatchNorm(_BatchNorm):
    """Mixin of normalisations that take statistics over all processes while they train.

    Attributes:
        synchronises: off while one process runs passes of its own.
    """

    synchronises = True

    def forward(self, input: Tensor) -> Tensor:
        """float (N, C, \\*) to the same shape."""
        if not (self.training and self.synchronises):
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        dims = [dim for dim in range(input.dim()) if dim != 1]
        view = (1, -1, *[1] * (input.dim() - 2))
        count = input.numel() // input.shape[1]
        sums: Tensor = _Sum.apply(  # type: ignore[no-untyped-call]
            torch.cat([input.double().sum(dims), input.new_full((1,), count, dtype=torch.float64)])
        )
        rows = sums[-1].detach()
        if rows == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.size()}")
        mean = sums[:-1] / rows
        centered = input - mean.view(view).to(input.dtype)
        squares: Tensor = _Sum.apply((centered * centered).double().sum(dims))  # type: ignore[no-untyped-call]
        variance = squares / rows
        self._take_up(mean.detach(), variance.detach() * (rows / (rows - 1)))
        scale = torch.rsqrt(variance + self.eps).to(input.dtype).view(view)
        return torch.addcmul(self.bias.view(view), centered * scale, self.weight.view(view))

    def _take_up(self, mean: Tensor, variance: Tensor) -> None:
        """Let the running statistics take up a batch's."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, batch in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.copy_((1 - momentum) * running.double() + momentum * batch)


class SyncBatchNorm1d(SyncBatchNorm, nn.BatchNorm1d):
    """:class:`torch.nn.BatchNorm1d` over all processes."""


class SyncBatchNorm2d(SyncBatchNorm, nn.BatchNorm2d):
    """:class:`torch.nn.BatchNorm2d` over all processes."""


_KINDS: dict[type[nn.Module], type[SyncBatchNorm]] = {
    nn.BatchNorm1d: SyncBatchNorm1d,
    nn.BatchNorm2d: SyncBatchNorm2d,
}


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, for each of them has a loss of its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Float (k,) to the sum of all, of the same shape."""
        del ctx
        return summed(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """dL/dsum of each process to the gradient of its summand."""
        del ctx
        return summed(gradient)


def summed(values: Tensor) -> Tensor:
    """A new tensor with the sum over all processes."""
    result = values.contiguous().clone()
    distributed.all_reduce(result)
    return result


def combined(rows: int, mean: Tensor, deviation: Tensor) -> tuple[int, Tensor, Tensor]:
    """Rows, mean and sum of squared deviations of all processes, in the order of their ranks; float64 (D,)."""
    own = torch.cat([mean.new_full((1,), rows), mean, deviation])
    everybodys = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everybodys, own)
    counts = [int(row[0]) for row in everybodys]
    means, deviations = ([part[i] for part in (row[1:].chunk(2) for row in everybodys)] for i in range(2))
    total = sum(counts)
    middle = sum((n * m for n, m in zip(counts, means, strict=True)), torch.zeros_like(mean)) / total
    spread = torch.zeros_like(mean)
    for n, m, s in zip(counts, means, deviations, strict=True):
        spread += s + n * (m - middle).square()
    return total, middle, spread


def synchronise_(model: nn.Module) -> None:
    """Have every batch normalisation of a network take statistics over all processes; parameters stay what they are."""
    _exchange(model, _KINDS)


def localise_(model: nn.Module) -> None:
    """Take :func:`synchronise_` back."""
    _exchange(model, {ours: kind for kind, ours in _KINDS.items()})


def _exchange(model: nn.Module, kinds: dict[type[nn.Module], Any]) -> None:
    for module in model.modules():
        if type(module) in kinds:
            # The class alone: parameters, buffers, hooks and whoever refers to the module keep what they have.
            module.__class__ = kinds[type(module)]


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """For the time of a ``with`` block, statistics are those of this process."""
    norms = [module for module in model.modules() if isinstance(module, SyncBatchNorm)]
    for norm in norms:
        norm.synchronises = False
    try:
        yield
    finally:
        for norm in norms:
            norm.synchronises = True
