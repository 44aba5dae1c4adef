"""When gradient noise is measured, and what is told about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from fqt_core.config import TrainConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.events import GradientTelemetry, LogLine, WarningRaised
from fqt_core.layers import BinaryLayer
from fqt_core.training.alarm import NoiseAlarm
from fqt_core.training.probe import GradientProbe
from fqt_core.training.state import RunState

MOST_IMAGES, FEWEST_IMAGES = 16, 4
"""Images of a probe; a smaller batch gives all that it has."""

MOST_PIXELS = 16 * 64 * 64
"""Pixels of a probe of more than the fewest images: layers run one by one, and their floats take memory."""

PROBE_COST = 32
"""A probed image takes at most as long as so many trained ones (measured: ``docs/telemetry.md``)."""

COST_SHARE = 0.02
"""The share of the training time that probes may take unless the user says how often they come."""


def probed_images(batch_size: int, image_size: int) -> int:
    """How many images of a batch are probed; ``image_size`` is their side in pixels."""
    return min(batch_size, MOST_IMAGES, max(FEWEST_IMAGES, MOST_PIXELS // image_size**2))


def interval(config: TrainConfig, images: int) -> int:
    """Steps from one probe of so many images to the next; 0: there is none."""
    if config.telemetry_every_steps is not None:
        return config.telemetry_every_steps
    return math.ceil(images * PROBE_COST / (config.batch_size * COST_SHARE))


class Telemetry:
    """The probes of one run: after the first step, and then after every :func:`interval` steps.

    Args:
        model: the network.
        layers: its binarised layers by name.
        config: of the run.
        image_size: side of the images in pixels.
    """

    def __init__(
        self, model: nn.Module, layers: Mapping[str, BinaryLayer], config: TrainConfig, image_size: int
    ) -> None:
        self._images = probed_images(config.batch_size, image_size)
        self._probe = GradientProbe(model, layers)
        self._alarm = NoiseAlarm(layers)
        self._every = interval(config, self._images) if layers else 0
        self._config = config

    def is_due(self, step: int) -> bool:
        """Whether to :meth:`report` when ``step`` steps have been taken."""
        return self._every > 0 and (step - 1) % self._every == 0

    def report(
        self, images: Tensor, labels: Tensor, state: RunState
    ) -> Iterator[GradientTelemetry | WarningRaised | LogLine]:
        """Measure on the first images of a batch, and warn of what was not warned of before.

        Args:
            images: float (n, c, h, w), preprocessed, on the network's device.
            labels: int64 (n,).
            state: where the run stands; it remembers the warnings.
        """
        step = state.step
        count = self._images
        if state.accumulate is not None:  # more did not fit
            count = min(count, state.fitting(self._config).micro_batch_size)
        images, labels = images[:count], labels[:count]
        try:
            layers = self._probe.measure(images, labels, seed=self._config.seed, step=step)
        except NonFiniteGradientError as error:  # on other images than a step's; training itself goes on
            yield LogLine(level="warning", message=f"no gradient telemetry at step {step}: {error}")
            return
        yield GradientTelemetry(step=step, images=len(images), layers=layers)
        yield from self._alarm.check(layers, state.noise_told)
