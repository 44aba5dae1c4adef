"""Puts a run together from its description: data, network, conversion, initial weights, trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fqt_core.config import ArchitectureConfig, Fqt, MethodConfig, TrainConfig
from fqt_core.conversion.report import ConversionReport
from fqt_core.convert import convert_
from fqt_core.data import ImageDataset, load_dataset
from fqt_core.errors import CheckpointError, ConfigurationError, InitialWeightsError
from fqt_core.events import AnyEvent, BitsChosen, Done
from fqt_core.export import PackedModel, load
from fqt_core.models import WeightReport, build, load_weights
from fqt_core.training.artifacts import write_artifacts
from fqt_core.training.checkpoint import read_checkpoint
from fqt_core.training.choice import Choice, choose_bits, warm_up_method
from fqt_core.training.seeding import seeded_init
from fqt_core.training.trainer import Trainer


@dataclass(frozen=True)
class Session:
    """A run that is ready: iterate over ``session.trainer``, or over ``session.run(folder)`` to get files as well.

    ``method`` is what the network was converted to, with each layer's bits where they were to be chosen. ``weights``
    says which initial weights were taken; ``None`` if the run starts from a random initialisation.
    """

    model: nn.Module
    dataset: ImageDataset
    trainer: Trainer
    method: MethodConfig
    conversion: ConversionReport
    weights: WeightReport | None

    def run(self, folder: Path | str, *, spec: Mapping[str, Any] | None = None) -> Iterator[AnyEvent]:
        """The trainer's events; before ``Done`` the results are written to ``folder``, each with ``ArtifactWritten``.

        See :mod:`fqt_core.training.artifacts` for the files. ``spec`` describes the job, for the record.
        """
        for event in self.trainer:
            if isinstance(event, Done):
                yield from write_artifacts(self, Path(folder), done=event, spec=spec)
            yield event


def prepare(
    *,
    architecture: ArchitectureConfig,
    method: MethodConfig,
    training: TrainConfig,
    data: Path | str | ImageDataset,
    classes: Sequence[str] | None = None,
    initial_weights: Path | str | None = None,
    checkpoint_dir: Path | str | None = None,
    checkpoint_best: bool = False,
    resume_from: Path | str | None = None,
    should_stop: Callable[[], bool] | None = None,
    device: torch.device | str = "auto",
    teacher: Path | str | nn.Module | PackedModel | None = None,
) -> Session:
    """Build everything that a run needs. The same arguments give the same run, bit for bit.

    With bits ``auto`` this trains a little and probes first (:mod:`fqt_core.training.choice`); a run that is resumed
    goes on with what was chosen.

    Args:
        architecture: the network; its ``channels`` and ``image_size`` decide how images are decoded.
        method: what the network is converted to.
        training: how it is trained; ``training.seed`` seeds everything random.
        data: see :func:`fqt_core.data.load_dataset`; or a data set of the architecture's channels and size.
        classes: train on these classes in this order; ``None``: on all. Not with a data set that is loaded already.
        initial_weights: a safetensors file to start from (fine-tuning); what fits is taken.
        checkpoint_dir: where checkpoints go; ``None``: none are written.
        checkpoint_best: write one after each epoch that is the best so far, whatever it costs.
        resume_from: a checkpoint of this very run to go on from.
        should_stop: see :class:`~fqt_core.training.trainer.Trainer`; with bits ``auto`` asked from now on.
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda``, or a torch device.
        teacher: what to learn from besides the labels: a packed model file, or a module that takes the same inputs.

    Raises:
        DataError: the data set cannot be used.
        ConfigurationError: the options do not fit each other, the data or the machine.
        InitialWeightsError: ``initial_weights`` cannot be used.
        CheckpointError: ``resume_from`` or ``teacher`` cannot be used.
        StopRequestedError: ``should_stop`` said so while bits were chosen.
    """
    where = resolve_device(device)
    dataset = _dataset(data, classes, architecture)

    def network(method: MethodConfig) -> tuple[nn.Module, ConversionReport, WeightReport | None]:
        with seeded_init(training.seed):
            model = build(architecture, num_classes=len(dataset.classes))
        conversion = convert_(model, method, seed=training.seed)
        return model, conversion, _load(model, initial_weights, dataset.classes)

    choice = None
    if isinstance(method, Fqt) and method.chooses_bits:
        if resume_from is not None:
            choice = _chosen_before(method, Path(resume_from))
        else:
            choice = choose_bits(network(warm_up_method(method))[0], dataset, training, method, where, should_stop)
        method = choice.method
    model, conversion, weights = network(method)
    trainer = Trainer(
        model,
        dataset,
        training,
        checkpoint_dir=checkpoint_dir,
        checkpoint_best=checkpoint_best,
        resume_from=resume_from,
        should_stop=should_stop,
        device=where,
        report=conversion.to_json(),
        teacher=load(teacher) if isinstance(teacher, Path | str) else teacher,
        choice=choice,
    )
    return Session(model, dataset, trainer, method, conversion, weights)


def resolve_device(device: torch.device | str) -> torch.device:
    """Settle ``auto``.

    Raises:
        ConfigurationError: CUDA is asked for, and there is none.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    settled = torch.device(device)
    if settled.type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device: this machine has no CUDA device that torch can use; choose cpu or auto")
    return settled


def _load(model: nn.Module, source: Path | str | None, classes: Sequence[str]) -> WeightReport | None:
    if source is None:
        return None
    try:
        return load_weights(model, source, classes=classes)
    except (CheckpointError, OSError) as error:
        raise InitialWeightsError(str(error)) from error


def _chosen_before(method: Fqt, checkpoint: Path) -> Choice:
    chosen = read_checkpoint(checkpoint).state.bits_chosen
    if chosen is None:
        raise CheckpointError(f"{checkpoint.name} belongs to another run: the bits of its layers were not chosen")
    return Choice(method, BitsChosen.model_validate(chosen))


def _dataset(
    data: Path | str | ImageDataset, classes: Sequence[str] | None, architecture: ArchitectureConfig
) -> ImageDataset:
    channels, size = architecture.channels, architecture.image_size
    if not isinstance(data, ImageDataset):
        return load_dataset(data, classes=classes, channels=channels, image_size=size)
    if classes is not None and list(classes) != data.classes:
        raise ConfigurationError("classes: choose them when the data set is loaded")
    if (data.channels, data.image_size) != (channels, size):
        raise ConfigurationError(
            f"the network wants images of {channels} x {size} x {size}, the data set has "
            f"{data.channels} x {data.image_size} x {data.image_size}; load it with channels={channels} and "
            f"image_size={size}"
        )
    return data
