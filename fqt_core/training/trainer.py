"""Trains a network: a generator of typed events, and exactly resumable.

Everything that a step depends on is in the checkpoint or is a function of (seed, epoch, step): weights, optimiser,
running sums, order of images, augmentation, the quantisers' random numbers. So a run that was stopped after any step
and resumed ends with the same bits as one that was not, given the same torch, thread count and device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core.config import TrainConfig
from fqt_core.conversion.on_device import kernels_on, rows_on
from fqt_core.data.batches import Preprocessing, TrainingData
from fqt_core.data.dataset import ImageDataset
from fqt_core.errors import CheckpointError, FqtError
from fqt_core.events import (
    AnyEvent,
    CheckpointWritten,
    Done,
    EpochDone,
    LogLine,
    QuantizationStatistics,
    Started,
    StepDone,
    Stopped,
    WarningRaised,
)
from fqt_core.export import PackedModel
from fqt_core.layers import trained_layers
from fqt_core.training.candidate import Candidate
from fqt_core.training.checkpoint import Checkpoint, check_tensors, differences, read_checkpoint, write_checkpoint
from fqt_core.training.choice import Choice
from fqt_core.training.device import resolve_device
from fqt_core.training.identity import arithmetic_of, conversion_rows, run_environment, run_identity
from fqt_core.training.memory import told
from fqt_core.training.objective import Objective
from fqt_core.training.optimizer import build_optimizer, load_optimizer_tensors, optimizer_tensors
from fqt_core.training.replica import Replica
from fqt_core.training.schedule import Schedule, set_learning_rate
from fqt_core.training.state import RunState
from fqt_core.training.statistics import QuantizerStatistics
from fqt_core.training.step import training_step
from fqt_core.training.telemetry import Telemetry
from fqt_core.training.transfer import moved

KEPT_CHECKPOINTS = 2
"""Older checkpoint files of the run are removed; the newest is only trusted once it is synced."""
CHECKPOINT_SHARE = 0.0025
"""Of the time, at most, for checkpoints after epochs; a worker that keeps them takes about as long again."""


class Trainer:
    """Iterate over it once; it yields :mod:`fqt_core.events`.

    ``Started``, with bits ``auto`` also ``BitsChosen``, then per step ``StepDone`` (and ``QuantizationStatistics`` and
    ``GradientTelemetry`` now and then), per epoch ``EpochDone``, ``CheckpointWritten`` whenever one is on disk,
    ``WarningRaised`` when there is something to know; at last ``Done``, or ``Stopped`` if ``should_stop`` said so.

    After ``Done`` the network is in evaluation mode and holds the weights and the batch-normalisation statistics of
    the epoch with the best validation accuracy (the earliest of equals), or of the last epoch without validation. With
    ``config.ema`` these are the averaged weights, and what is validated are they.

    Attributes:
        data: the split data set; ``data.preprocessing`` belongs into the exported model.
        state: where the run stands.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageDataset,
        config: TrainConfig,
        *,
        checkpoint_dir: Path | str | None = None,
        checkpoint_best: bool = False,
        resume_from: Path | str | None = None,
        should_stop: Callable[[], bool] | None = None,
        device: torch.device | str = "cpu",
        report: Sequence[dict[str, Any]] | None = None,
        teacher: nn.Module | PackedModel | None = None,
        choice: Choice | None = None,
        replica: Replica | None = None,
    ) -> None:
        """Prepare a run.

        Args:
            model: what to train, in place; moved to ``device``.
            data: images and labels; split here by ``config.validation_fraction`` and ``config.seed``.
            config: how to train.
            checkpoint_dir: where checkpoints go; ``None``: none are written.
            checkpoint_best: write one after each epoch that is the best so far, whatever it costs.
            resume_from: a checkpoint of the same network, method, configuration and data to go on from.
            should_stop: asked before every step and validation batch; on True a checkpoint is written and the run
                ends with ``Stopped``.
            device: where to train: ``auto`` (CUDA if there is one), ``cpu``, ``cuda``, or a torch device.
            report: rows for ``Started``; ``None``: those of ``model.fqt_report``, which conversion leaves there.
            teacher: what to learn from besides the labels, see :class:`~fqt_core.training.teacher.Teacher`.
            choice: what the methods of the layers were chosen for, and how; goes into checkpoints.
            replica: which of several processes this is, each with a trainer of its own; ``None``: the only one. What
                ``should_stop`` says counts on the first one only, and only that one writes checkpoints and measures
                gradient noise; the events of the others are to be left unread.

        Raises:
            ConfigurationError: the options do not fit the network, the data or the machine.
            CheckpointError: ``resume_from`` is damaged, or of another run; the message says what differs.
        """
        self._device = resolve_device(device)
        self.model = model.to(self._device)
        self.config = config
        self._replica = Replica() if replica is None else replica
        self.data = TrainingData(data, config, self._replica.rank, self._replica.size)
        self.state = RunState(bits_chosen=None if choice is None else choice.told.model_dump(mode="json"))
        self._choice = choice
        self._checkpoint_dir = Path(checkpoint_dir) if checkpoint_dir is not None else None
        self._should_stop = self._agreed(should_stop or (lambda: False))
        self._report = rows_on(self._device, model, conversion_rows(model) if report is None else report)
        self._optimizer = build_optimizer(model, config)
        self._schedule = Schedule.of(config, self.data.steps_per_epoch)
        self._objective = Objective.of(config, teacher, self.data, self._device)
        self._candidate = Candidate(
            self.model,
            self.data,
            config,
            device=self._device,
            should_stop=self._should_stop,
            replica=self._replica,
        )
        self._statistics = QuantizerStatistics(model)
        self._telemetry = Telemetry(model, self._statistics.layers, config, data.image_size)
        self._checkpoint_best = checkpoint_best
        self._written: list[Path] = []
        self._next_checkpoint = 0.0  # on the monotonic clock: one after an epoch before then would cost too much
        self._begun = False
        self._warnings: list[WarningRaised] = []
        self._forward = self._replica.attach(self.model)
        if resume_from is not None:
            self._resume(Path(resume_from))

    def _agreed(self, should_stop: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: self._replica.agree(should_stop())

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run, without early stopping."""
        return self.config.epochs * self.data.steps_per_epoch

    @property
    def preprocessing(self) -> Preprocessing:
        """How pixels become the network's input."""
        return self.data.preprocessing

    def __iter__(self) -> Iterator[AnyEvent]:
        if self._begun:
            raise FqtError("a Trainer can be iterated over once; make another one to go on from a checkpoint")
        self._begun = True
        return self._run()

    def _run(self) -> Iterator[AnyEvent]:
        yield self._started()
        if self._choice is not None:
            yield self._choice.told
        yield from self._first_warnings()
        state, per_epoch = self.state, self.data.steps_per_epoch
        self.model.train()
        while not self._finished():
            if self._should_stop():
                yield from self._stop()
                return
            if state.batch < per_epoch:
                yield from self._step()
                if self._checkpoint_is_due() and state.batch < per_epoch:
                    yield from self._write_checkpoint()
                continue
            closed = self._close_epoch()
            if closed is None:
                yield from self._stop()
                return
            yield closed
            if (exchanged := self._replica.exchanged(self.state.step)) is not None:
                yield exchanged
            if self._checkpoint_is_due() or (closed.best and self._checkpoint_best):
                yield from self._write_checkpoint()
        yield self._done()

    def _finished(self) -> bool:
        return self.state.epoch >= self.config.epochs or self._stopped_early()

    def _stopped_early(self) -> bool:
        patience = self.config.early_stopping_patience
        return patience is not None and self.state.epochs_without_gain >= patience

    def _checkpoint_is_due(self) -> bool:
        every = self.config.checkpoint_every_steps
        if every is None:
            return self.state.batch == 0 and self._replica.agree(time.monotonic() >= self._next_checkpoint)
        return self.state.step % every == 0

    def _step(self) -> Iterator[AnyEvent]:
        begin = time.perf_counter()
        state, config = self.state, self.config
        set_learning_rate(self._optimizer, self._schedule.factor(state.step))
        reporting = (state.step + 1) % config.statistics_every_steps == 0 and bool(self._statistics.layers)
        self._statistics.collect(reporting)
        images, labels = (moved(tensor, self._device) for tensor in self.data.train_batch(state.epoch, state.batch))
        parts = self.data.micro_batches(state.batch, state.fitting(config))
        total = self.data.batch_images(state.batch)
        loss, correct, needed = training_step(
            self.model,
            self._optimizer,
            (images, labels),
            seed=config.seed,
            step=state.step,
            classes=len(self.data.classes),
            layers=self._statistics.layers.values(),
            objective=self._objective,
            parts=parts,
            replica=self._replica,
            forward=self._forward,
            images_of_all=total,
        )
        self._candidate.update(state.step + 1)
        elapsed = time.perf_counter() - begin
        state.step += 1
        state.batch += 1
        state.loss_sum += loss * total
        state.correct += correct
        state.seen += total
        state.epoch_seconds += elapsed
        state.seconds += elapsed
        yield StepDone(
            step=state.step,
            epoch=self._epochs_done(),
            loss=loss,
            learning_rate=self._learning_rate(),
            images_per_second=total / elapsed,
        )
        if needed > parts:
            yield self._split(len(labels), needed)
        if reporting:
            yield QuantizationStatistics(step=state.step, layers=self._statistics.report())
        if self._replica.rank == 0 and self._telemetry.is_due(state.step):
            begin = time.perf_counter()
            with self._replica.alone():
                reports = self._telemetry_reports(images, labels)
            state.seconds += time.perf_counter() - begin
            yield from reports

    def _telemetry_reports(self, images: Tensor, labels: Tensor) -> list[AnyEvent]:
        try:
            return list(self._telemetry.report(images, labels, self.state))
        except torch.OutOfMemoryError as error:
            reason = told(error)
        torch.cuda.empty_cache()
        message = f"no gradient telemetry at step {self.state.step}: the device's memory does not hold it ({reason})"
        return [LogLine(level="warning", message=message)]

    def _split(self, images: int, parts: int) -> WarningRaised:
        """Keep to smaller micro-batches from now on."""
        size = self.config.batch_size
        self.state.accumulate = max(min(-(-parts * size // images), size // 2), self.config.accumulate)
        message = (
            f"the device's memory did not hold the micro-batches of step {self.state.step}; from this step on they are "
            f"of {-(-images // parts)} images, as with training.accumulate {self.state.accumulate}; batch "
            "normalisation and gradient quantisers see one of them at a time"
        )
        return WarningRaised(code="smaller_micro_batches", message=message)

    def _close_epoch(self) -> EpochDone | None:
        """Validate, keep the best, and begin the next epoch; ``None`` if asked to stop meanwhile."""
        begin = time.perf_counter()
        state = self.state
        result, best = None, False
        accuracy = state.correct / state.seen
        if self.data.validation_images:
            validated = self._candidate.validate(state)
            if validated is None:
                state.seconds += time.perf_counter() - begin
                return None
            result, best = validated
            if best:
                state.best_epoch, state.best_train_accuracy = state.epoch + 1, accuracy
                state.best_accuracy, state.best_loss = result.accuracy, result.loss
        state.epochs_without_gain = 0 if best or result is None else state.epochs_without_gain + 1
        state.last_train_accuracy = accuracy
        elapsed = time.perf_counter() - begin
        state.seconds += elapsed
        event = EpochDone(
            epoch=state.epoch + 1,
            step=state.step,
            train_loss=state.loss_sum / state.seen,
            train_accuracy=accuracy,
            validation_loss=result.loss if result is not None else None,
            validation_accuracy=result.accuracy if result is not None else None,
            best=best,
            learning_rate=self._learning_rate(),
            images_per_second=state.seen / max(state.epoch_seconds, 1e-9),
            seconds=state.epoch_seconds + elapsed,
        )
        state.epoch += 1
        state.begin_epoch()
        return event

    def _done(self) -> Done:
        state = self.state
        self._candidate.settle(state)
        self._replica.detach()
        return Done(
            reason="early_stopped" if state.epoch < self.config.epochs else "completed",
            step=state.step,
            epochs=state.epoch,
            best_epoch=state.best_epoch,
            validation_accuracy=state.best_accuracy,
            validation_loss=state.best_loss,
            train_accuracy=state.last_train_accuracy if state.best_epoch is None else state.best_train_accuracy,
            seconds=state.seconds,
        )

    def _stop(self) -> Iterator[AnyEvent]:
        yield from self._write_checkpoint()
        yield Stopped(step=self.state.step)

    def _write_checkpoint(self) -> Iterator[CheckpointWritten]:
        if self._checkpoint_dir is None:
            return
        begin = time.perf_counter()
        replicas = self._replica.tensors()
        if self._replica.rank > 0:
            return
        tensors = {
            "replicas": replicas,
            "model": dict(self.model.state_dict()),
            **self._candidate.tensors(),
            "optimizer": optimizer_tensors(self.model, self._optimizer),
            "signs": self._statistics.tensors(),
        }
        checkpoint = Checkpoint(self._identity(), self.state, run_environment(self._device), tensors)
        written = write_checkpoint(checkpoint, self._checkpoint_dir / f"checkpoint-{self.state.step:09d}.safetensors")
        if written.path not in self._written:
            self._written.append(written.path)
        while len(self._written) > KEPT_CHECKPOINTS:
            self._written.pop(0).unlink(missing_ok=True)
        elapsed = time.perf_counter() - begin
        self.state.seconds += elapsed
        self._next_checkpoint = time.monotonic() + elapsed / CHECKPOINT_SHARE
        yield CheckpointWritten(
            step=self.state.step,
            epoch=self._epochs_done(),
            path=str(written.path),
            sha256=written.sha256,
            size=written.size,
        )

    def _resume(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        lines = differences(checkpoint.identity, self._identity())
        if lines:
            raise CheckpointError(f"{path.name} belongs to another run: {'; '.join(lines[:10])}")
        state, tensors = checkpoint.state, checkpoint.tensors
        per_epoch = self.data.steps_per_epoch
        if state.batch > per_epoch or state.epoch > self.config.epochs:
            raise CheckpointError(f"{path.name}: epoch {state.epoch}, batch {state.batch} is beyond the end of the run")
        if state.step != state.epoch * per_epoch + state.batch:
            raise CheckpointError(f"{path.name}: step {state.step} is not where its epoch and batch are")
        own = self.model.state_dict()
        check_tensors(tensors["model"], own, "weights")
        self._candidate.load_tensors(tensors, validated=state.best_epoch is not None)
        self._statistics.load_tensors(tensors["signs"])
        self._replica.load_tensors(tensors["replicas"])
        load_optimizer_tensors(self.model, self._optimizer, tensors["optimizer"])
        self.model.load_state_dict(tensors["model"])
        self.state = state
        for line in differences(checkpoint.environment, run_environment(self._device)):
            message = f"the run goes on, but not bit for bit as it would have: {line}"
            self._warnings.append(WarningRaised(code="environment_differs", message=message))

    def _identity(self) -> dict[str, Any]:
        asked = None if self._choice is None else self._choice.asked
        layers, teacher = trained_layers(self.model), self._objective.teacher
        return run_identity(self.config, self.data, layers, teacher, asked, self._replica.config)

    def _started(self) -> Started:
        layers = self._statistics.layers.values()
        return Started(
            step=self.state.step,
            total_steps=self.total_steps,
            steps_per_epoch=self.data.steps_per_epoch,
            epochs=self.config.epochs,
            train_images=self.data.train_images,
            validation_images=self.data.validation_images,
            classes=self.data.classes,
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            binary_parameters=sum(layer.weight.numel() for layer in layers),
            arithmetic=arithmetic_of(trained_layers(self.model)),
            isa=kernels_on(self._device, trained_layers(self.model)),
            threads=torch.get_num_threads(),
            device=str(self._device),
            report=self._report,
        )

    def _first_warnings(self) -> Iterator[WarningRaised]:
        yield from self._warnings
        for message in self.data.dataset.warnings:
            yield WarningRaised(code="data", message=message)
        if self.config.early_stopping_patience is not None and not self.data.validation_images:
            yield WarningRaised(
                code="early_stopping_without_validation",
                message="early stopping needs validation images, and there are none; all epochs will be trained",
            )

    def _epochs_done(self) -> float:
        return self.state.epoch + self.state.batch / self.data.steps_per_epoch

    def _learning_rate(self) -> float:
        """Of everything but the head, as the last step used it."""
        step = max(self.state.step - 1, 0)
        return self.config.learning_rate * self._schedule.factor(step)
