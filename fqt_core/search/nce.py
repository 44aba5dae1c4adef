"""Neural channel expansion: trains a network of choices, expands what is preferred, and tells the widths.

Source: Park et al., "Automatic Network Adaptation for Ultra-Low Uniform-Precision Quantization", arXiv 2212.10878, on
the search of Dong and Yang, "Network Pruning via Transformable Architecture Search", arXiv 1905.09717.
``docs/methods/nce.md`` says what was decided here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.config import ArchitectureConfig, MethodConfig, TrainConfig
from fqt_core.config.plan import layer_plan
from fqt_core.config.search import TOO_TIGHT, Nce, beyond_budget, obstacles, with_widths
from fqt_core.data.batches import TrainingData
from fqt_core.data.counters import Purpose, words
from fqt_core.data.dataset import ImageDataset
from fqt_core.errors import ConfigurationError, StopRequestedError
from fqt_core.events import AnyEvent, Done, EpochDone, Started, StepDone, StructureFound, WidthsSearched
from fqt_core.search.choices import CostModel, Counts, budget_loss, expands, settle
from fqt_core.search.supernet import Supernet
from fqt_core.training.schedule import Schedule, set_learning_rate
from fqt_core.training.seeding import seeded_init

NETWORK = "network"
"""The name under which shares of the budgets are told, beside the layers."""

_DRAWN = 2
_STRUCTURE_BETAS = (0.5, 0.999)


def search_widths(
    *,
    architecture: ArchitectureConfig,
    method: MethodConfig,
    search: Nce,
    training: TrainConfig,
    data: ImageDataset,
    should_stop: Callable[[], bool] | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[AnyEvent]:
    """Search the widths of a network. The same arguments give the same widths, given torch, thread count and device.

    Yields ``Started``, per step ``StepDone``, per step of the choices also ``WidthsSearched``, per epoch ``EpochDone``;
    at last ``StructureFound`` and ``Done``.

    Args:
        architecture: the network to begin with; its counts are what budgets are shares of.
        method: its format decides what is one bit.
        search: the options of the search.
        training: epochs, batches, learning rate of the weights (Adam), schedule, augmentation, seed.
        data: images and labels; those set aside for validation take no part.
        should_stop: asked before every step.
        device: where to run.

    Raises:
        ConfigurationError: the network or the method cannot be searched, or not even the narrowest one fits a budget.
        StopRequestedError: ``should_stop`` said so.
    """
    for field, reason in obstacles(architecture, method).items():
        raise ConfigurationError(f"{field}: {reason}")
    run = _Search(architecture, method, search, training, data, torch.device(device))
    yield run.started()
    for epoch in range(training.epochs):
        for index in range(run.data.steps_per_epoch):
            if should_stop is not None and should_stop():
                raise StopRequestedError
            yield from run.step(epoch, index)
        yield run.close_epoch(epoch)
    yield run.found()
    yield run.done()


class _Search:
    def __init__(
        self,
        architecture: ArchitectureConfig,
        method: MethodConfig,
        search: Nce,
        training: TrainConfig,
        data: ImageDataset,
        device: torch.device,
    ) -> None:
        self.data = TrainingData(data, training)
        self._architecture = architecture
        self._search = search
        self._training = training
        self._device = device
        self._classes = len(self.data.classes)
        self._begin = time.perf_counter()
        with seeded_init(training.seed):
            self._net = Supernet(architecture, self._classes, search).to(device)
        self._stages = list(self._net.each())
        self._plan = layer_plan(architecture, self._classes, full=lambda name: method.for_layer(name) is None)
        self._costs = CostModel.of(self._plan)
        self._budgets = (self._plan.macs * search.macs_budget, self._plan.parameters * search.parameters_budget)
        for name in beyond_budget(architecture, self._classes, search):
            raise ConfigurationError(f"search.{name}: {TOO_TIGHT}")
        self._weights = torch.optim.Adam(
            [{"params": self._net.weights(), "base_lr": training.learning_rate}], weight_decay=training.weight_decay
        )
        self._scores = torch.optim.Adam(
            self._net.scores(), lr=search.structure_learning_rate, betas=_STRUCTURE_BETAS, weight_decay=0.0
        )
        self._schedule = Schedule.of(training, self.data.steps_per_epoch)
        self._taken = 0
        self._loss = self._right = self._seen = 0.0
        self._epoch_began = time.perf_counter()

    def started(self) -> Started:
        """What is about to be searched."""
        return Started(
            step=0,
            total_steps=self._training.epochs * self.data.steps_per_epoch,
            steps_per_epoch=self.data.steps_per_epoch,
            epochs=self._training.epochs,
            train_images=self.data.train_images,
            validation_images=self.data.validation_images,
            classes=self.data.classes,
            parameters=self._plan.parameters,
            binary_parameters=self._plan.binary_parameters,
            arithmetic=self._search.arithmetic,
            isa="torch",
            threads=torch.get_num_threads(),
            device=str(self._device),
            report=[],
        )

    def step(self, epoch: int, index: int) -> Iterator[AnyEvent]:
        """Train the weights with one batch or, after the warm-up every other time, the scores."""
        begin = time.perf_counter()
        images, labels = (part.to(self._device) for part in self.data.train_batch(epoch, index))
        of_choices = epoch >= self._search.warmup_epochs and self._taken % 2 == 1
        drawn = self._draw()
        self._net.train()
        logits = self._net(images, drawn)
        loss = functional.cross_entropy(logits, labels)
        optimizer = self._scores if of_choices else self._weights
        total = loss
        if of_choices:
            expected = self._costs.expected([stage.expected_width for stage in self._stages])
            total = loss + self._search.budget_weight * budget_loss(expected, self._budgets)
        self._net.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        set_learning_rate(self._weights, self._schedule.factor(self._taken))
        optimizer.step()
        if not of_choices:
            self._net.clamp_()
        self._taken += 1
        self._loss += float(loss.detach()) * len(labels)
        self._right += int((logits.argmax(1) == labels).sum())
        self._seen += len(labels)
        yield StepDone(
            step=self._taken,
            epoch=self._taken / self.data.steps_per_epoch,
            loss=float(loss.detach()),
            learning_rate=float(self._weights.param_groups[0]["lr"]),
            images_per_second=len(labels) / (time.perf_counter() - begin),
        )
        if of_choices:
            yield self._told()

    def close_epoch(self, epoch: int) -> EpochDone:
        """Expand the layers that prefer their widest choice."""
        if epoch >= self._search.warmup_epochs:
            for stage in self._stages:
                chances = stage.probabilities.tolist()
                if expands(chances, stage.active, len(stage.choices), self._search.threshold):
                    stage.expand()
        seconds = time.perf_counter() - self._epoch_began
        event = EpochDone(
            epoch=epoch + 1,
            step=self._taken,
            train_loss=self._loss / self._seen,
            train_accuracy=self._right / self._seen,
            validation_loss=None,
            validation_accuracy=None,
            best=False,
            learning_rate=float(self._weights.param_groups[0]["lr"]),
            images_per_second=self._seen / max(seconds, 1e-9),
            seconds=seconds,
        )
        self._loss = self._right = self._seen = 0.0
        self._epoch_began = time.perf_counter()
        return event

    def found(self) -> StructureFound:
        """The widths that the scores and the budgets come to."""
        chances = [stage.probabilities.tolist() for stage in self._stages]
        choices = [stage.choices[: stage.active] for stage in self._stages]
        widths = settle(choices, chances, self._counts, self._budgets)
        assert widths is not None, "the narrowest network fits"
        architecture = with_widths(self._architecture, widths)
        macs, parameters = self._counts(widths)
        return StructureFound(
            architecture=architecture.model_dump(mode="json"),
            widths={stage.shape.name: width for stage, width in zip(self._stages, widths, strict=True)},
            began={stage.shape.name: stage.shape.out_channels for stage in self._stages},
            macs=macs,
            parameters=parameters,
            macs_budget=int(self._budgets[0]),
            parameters_budget=int(self._budgets[1]),
        )

    def done(self) -> Done:
        """The end."""
        return Done(
            reason="completed",
            step=self._taken,
            epochs=self._training.epochs,
            best_epoch=None,
            validation_accuracy=None,
            validation_loss=None,
            train_accuracy=None,
            seconds=time.perf_counter() - self._begin,
        )

    def _draw(self) -> list[list[int]]:
        """Two choices of each stage, by their probabilities and without replacement (Gumbel's greatest two)."""
        count = max(len(stage.choices) for stage in self._stages)
        raw = words(self._training.seed, Purpose.CHOICE, self._taken, count * len(self._stages))
        uniform = torch.from_numpy((raw >> 11).astype("float64") + 0.5) * 2.0**-53
        noise = -torch.log(-torch.log(uniform)).view(len(self._stages), count)
        drawn = []
        for stage, gumbel in zip(self._stages, noise, strict=True):
            keys = torch.log_softmax(stage.scores[: stage.active].detach().cpu().double(), 0) + gumbel[: stage.active]
            drawn.append(sorted(keys.topk(min(_DRAWN, stage.active)).indices.tolist()))
        return drawn

    def _told(self) -> WidthsSearched:
        layers = {}
        for stage in self._stages:
            chances = stage.probabilities.tolist()
            layers[stage.shape.name] = {
                "expected_width": float(stage.expected_width.detach()),
                "likeliest_width": float(stage.choices[chances.index(max(chances))]),
                "widest": float(stage.choices[stage.active - 1]),
                "widest_probability": chances[-1],
            }
        expected: Sequence[Tensor] = self._costs.expected([stage.expected_width.detach() for stage in self._stages])
        shares = [float(count) / budget for count, budget in zip(expected, self._budgets, strict=True)]
        layers[NETWORK] = {"macs_of_budget": shares[0], "parameters_of_budget": shares[1]}
        return WidthsSearched(step=self._taken, layers=layers)

    def _counts(self, widths: list[int]) -> Counts:
        plan = layer_plan(with_widths(self._architecture, widths), self._classes)
        return plan.macs, plan.parameters
