"""Chooses the options of each layer's gradient quantiser under a budget, from a short probe (bits ``auto`` of ``fqt``).

On a copy of the network, with the run's images and optimiser: a warm-up of a few steps with dense 8-bit gradients,
since those of a fresh head say little of what is to come; then a few batches are probed
(:mod:`fqt_core.training.sensitivity`), and settings chosen (:mod:`fqt_core.training.allocation`). All of it is a
function of the run's seed, and none of its random numbers is drawn by training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from glob import escape

import torch
from torch import nn

from fqt_core.config import Fqt, LayerOverride, TrainConfig
from fqt_core.config.method_base import MethodConfig
from fqt_core.config.setting import KEPT_PARTS, GradientSetting, probed_images, settings
from fqt_core.data.batches import TrainingData
from fqt_core.data.dataset import ImageDataset
from fqt_core.errors import ConfigurationError, StopRequestedError
from fqt_core.events import BitsChosen
from fqt_core.layers import BinaryLayer
from fqt_core.random import PhiloxState
from fqt_core.training.allocation import allocate
from fqt_core.training.memory import fewer, told
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.sensitivity import LayerNoise, Sensitivity
from fqt_core.training.step import most_parts, training_step
from fqt_core.training.transfer import moved

WARMUP_STEPS = 32
PROBED_BATCHES = 2
_LEAST_IMAGES = 2  # a single one may have no variance

FREE_BITS = 0.02
"""Loss that a bit per gradient element has to save on average of the layers, or it is not spent."""

_EXACT_FROM = 0.01
"""Relative variance of dense 8 bits from which on a layer may have its gradient in full precision."""


@dataclass(frozen=True)
class Choice:
    """What a run's method was asked to be, and what was chosen for it."""

    asked: Fqt
    told: BitsChosen

    @property
    def method(self) -> Fqt:
        """The method with the choice."""
        return Fqt.model_validate(self.told.method)


@dataclass(frozen=True)
class Probed:
    """What a probe found. ``noise`` of all ``settings``, and ``elements`` of the gradient per image, by layer."""

    method: Fqt
    settings: Sequence[GradientSetting]
    noise: Mapping[str, LayerNoise]
    elements: Mapping[str, int]

    def choose(self, budget: float) -> BitsChosen:
        """The settings with the least noise within a budget of average bits per gradient element."""
        picks = self._picks(budget)
        arrives: dict[str, float] = {}
        for name, pick in picks.items():
            for target, share in self.noise[name].shares(name, pick).items():
                arrives[target] = arrives.get(target, 0.0) + share
        overrides = [LayerOverride(pattern=escape(name), **self.settings[pick].options) for name, pick in picks.items()]
        spent = sum(self.elements[name] * self.settings[pick].cost for name, pick in picks.items())
        return BitsChosen(
            budget=budget,
            average_bits=spent / (KEPT_PARTS * sum(self.elements.values())),
            seconds=0.0,
            layers={name: self._row(name, pick, math.expm1(arrives[name])) for name, pick in picks.items()},
            method=self.method.settled(overrides).model_dump(mode="json"),
        )

    def _picks(self, budget: float) -> dict[str, int]:
        """The number of each layer's setting."""
        total = sum(self.elements.values())
        costs, losses, numbers = [], [], []
        for name, noise in self.noise.items():
            # The first setting is dense 8 bits.
            allowed = [n for n, one in enumerate(self.settings) if not one.exact or max(noise.own(0)) > _EXACT_FROM]
            price = FREE_BITS * len(self.noise) * self.elements[name] / (total * KEPT_PARTS)
            numbers.append(allowed)
            costs.append([self.elements[name] * self.settings[n].cost for n in allowed])
            losses.append([sum(noise.shares(name, n).values()) + price * self.settings[n].cost for n in allowed])
        picks = allocate(costs, losses, int(budget * KEPT_PARTS * total))
        return {name: allowed[pick] for name, allowed, pick in zip(self.noise, numbers, picks, strict=True)}

    def _row(self, name: str, pick: int, arrives: float) -> dict[str, float | None]:
        setting, (dx, dw) = self.settings[pick], self.noise[name].own(pick)
        return {
            "bits": setting.bits,
            "keep": setting.keep,
            "clip": setting.clip,
            "dx_relative_variance": dx,
            "dw_relative_variance": dw,
            "accumulated_dw_relative_variance": arrives,
        }


def warm_up_method(method: Fqt) -> MethodConfig:
    """What the copy of the network is converted to: dense 8 bits, but for layers that the user has exceptions for."""
    return Fqt(bits=8, pruning="none", weight_scale=method.weight_scale, overrides=method.overrides)


def choose_bits(
    model: nn.Module,
    dataset: ImageDataset,
    training: TrainConfig,
    method: Fqt,
    device: torch.device,
    should_stop: Callable[[], bool] | None = None,
) -> Choice:
    """Probe, and choose within the method's budget; see :func:`probe`."""
    begin = time.perf_counter()
    told = probe(model, dataset, training, method, device, should_stop).choose(method.settled_budget)
    told = told.model_copy(update={"seconds": time.perf_counter() - begin})
    return Choice(method, told)


def probe(
    model: nn.Module,
    dataset: ImageDataset,
    training: TrainConfig,
    method: Fqt,
    device: torch.device,
    should_stop: Callable[[], bool] | None = None,
) -> Probed:
    """Train a little, and measure.

    Args:
        model: a network of its own for this, converted to :func:`warm_up_method`, with the initial weights of the run;
            it is trained.
        dataset: that of the run.
        training: how the run is trained.
        method: the method, with bits ``auto``.
        device: where to train.
        should_stop: asked before every step, and before each layer that is probed.

    Raises:
        ConfigurationError: every layer has an exception by the user, so that there is nothing to choose.
        StopRequestedError: ``should_stop`` said so.
        DeviceMemoryError: the device's memory does not hold the fewest images that can be probed.
        NonFiniteLossError, NonFiniteGradientError: see :func:`~fqt_core.training.step.training_step`.
    """
    model.to(device).train()
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)}
    free = [name for name in layers if method.override_of(name) is None]
    if not free:
        raise ConfigurationError(
            "method.bits: 'auto' has nothing to choose, for every layer has an override; leave out some, or give bits"
        )
    data = TrainingData(dataset, training)

    def heed() -> None:
        if should_stop is not None and should_stop():
            raise StopRequestedError

    _warm_up(model, data, training, device, layers.values(), heed)
    options = settings(method.groups)
    images = probed_images(training.micro_batch_size, dataset.image_size)
    while True:
        together = min(training.micro_batch_size, data.train_images)
        sensitivity = Sensitivity(model, layers, free, method, options, together)
        try:
            for number in range(PROBED_BATCHES):
                pictures, labels = _batch(data, WARMUP_STEPS + number, device)
                sensitivity.measure(pictures[:images], labels[:images], seed=training.seed, number=number, heed=heed)
            return Probed(method, options, sensitivity.noise, sensitivity.elements)
        except torch.OutOfMemoryError as error:
            reason = told(error)
        images = fewer(images, _LEAST_IMAGES, reason)


def _warm_up(
    model: nn.Module,
    data: TrainingData,
    training: TrainConfig,
    device: torch.device,
    layers: Collection[BinaryLayer],
    heed: Callable[[], None],
) -> None:
    optimizer = build_optimizer(model, training)
    model.fqt_state = PhiloxState(probe=True)  # type: ignore[assignment]
    for layer in layers:
        layer.state = model.fqt_state  # type: ignore[assignment]
    needed = 1
    for step in range(WARMUP_STEPS):
        heed()
        batch = _batch(data, step, device)
        needed = training_step(
            model,
            optimizer,
            batch,
            seed=training.seed,
            step=step,
            classes=len(data.classes),
            layers=layers,
            parts=max(training.micro_batches(len(batch[1])), min(needed, most_parts(len(batch[1])))),
        ).parts
    optimizer.zero_grad(set_to_none=True)


def _batch(data: TrainingData, number: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The run's batches in order, epoch after epoch."""
    images, labels = data.train_batch(*divmod(number, data.steps_per_epoch))
    return moved(images, device), moved(labels, device)
