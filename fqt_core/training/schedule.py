"""The learning rate over a run: a factor that every group's own rate is multiplied by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core.config import TrainConfig
from fqt_core.errors import ConfigurationError


@dataclass(frozen=True)
class Schedule:
    """Warm-up, then decay.

    With W steps of warm-up in a run of N steps, step t (from 0) has the factor::

        (t + 1) / (W + 1)                       t < W
        1 - s,  s = (t - W) / (N - W)           t >= W, linear
        (1 + cos(π s)) / 2                      t >= W, cosine
        1                                       t >= W, constant

    so step W is the first with the full rate, and the rate is never 0.
    """

    shape: str
    warmup: int
    total_steps: int

    @classmethod
    def of(cls, config: TrainConfig, steps_per_epoch: int) -> Schedule:
        """The schedule of a run.

        Raises:
            ConfigurationError: the warm-up is not shorter than the run.
        """
        warmup, total = config.warmup(steps_per_epoch), config.epochs * steps_per_epoch
        if warmup and warmup >= total:
            raise ConfigurationError(
                f"training.warmup_steps: {warmup} steps of warm-up in a run of {total} steps; use fewer, or more epochs"
            )
        return cls(config.schedule, warmup, total)

    def factor(self, step: int) -> float:
        """What learning rates are multiplied by in step ``step`` (from 0)."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / (self.total_steps - self.warmup)
        if self.shape == "linear":
            return 1.0 - done
        if self.shape == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * done))
        return 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its ``base_lr`` times ``factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def own_rate_numbers(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What the rates of groups with a ``rate`` follow from, as it is now: float32 () each."""
    return [group["rate"].number().clone() for group in optimizer.param_groups if "rate" in group]


@contextmanager
def own_rates(optimizer: torch.optim.Optimizer, numbers: Sequence[float]) -> Iterator[None]:
    """While this lasts, learning rates of groups with a ``rate`` are multiplied by it.

    Args:
        optimizer: made by :func:`fqt_core.training.optimizer.build_optimizer`.
        numbers: the values of :func:`own_rate_numbers`.
    """
    groups = [group for group in optimizer.param_groups if "rate" in group]
    before = [group["lr"] for group in groups]
    for group, number in zip(groups, numbers, strict=True):
        group["lr"] *= group["rate"].factor(number)
    try:
        yield
    finally:
        for group, rate in zip(groups, before, strict=True):
            group["lr"] = rate
