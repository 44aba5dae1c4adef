"""Whether a job spec fits what the store holds. Every fault is reported, not only the first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from fqt_core.config import METHODS
from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.config.plan import unmatched
from fqt_core.config.search import TOO_TIGHT, beyond_budget, obstacles
from jobs import datasets, tabular
from jobs.ceilings import lesser, too_many_steps, too_much_memory
from jobs.datasets import DatasetSource
from jobs.errors import InvalidSpecError, SpecFault
from jobs.keys import Key
from jobs.offers import Offer, without_gpu
from jobs.organisations import within
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.steps import split, steps_per_epoch
from jobs.tables import artifacts, jobs, models
from jobs.tables import datasets as dataset_table

_ADAPTED = {"image_size", "channels"}  # when weights are loaded: heads, and grey against RGB
_SHOWN = 50


@dataclass(frozen=True)
class Sources:
    """What a valid spec refers to, pinned by digest. ``train``, ``held``: examples that train, and that validate."""

    dataset: DatasetSource
    classes: list[str]
    train: int
    held: int
    initial_weights_sha256: str | None
    teacher_sha256: str | None


@dataclass(frozen=True)
class Bounds:
    """What this service allows to one key. ``None``: no limit.

    ``organisation``: whose data sets, jobs and models a spec may refer to. ``max_seconds``: how long a job may run.
    ``max_queued``: how many jobs of one key may wait at the same time, for keys without a number of their own.
    ``max_steps``, ``max_memory_bytes``: what a job may be predicted to take. ``max_processes``: how many may train it.
    ``gpu``: whether it may ask for a GPU.
    """

    organisation: str | None = None
    max_seconds: float | None = None
    max_queued: int | None = None
    max_steps: int | None = None
    max_memory_bytes: int | None = None
    gpu: bool = True
    max_processes: int | None = None

    @classmethod
    def of(cls, settings: Settings, key: Key, offers: Sequence[Offer] | None = None) -> Bounds:
        """What the settings allow to a key, while the workers of ``offers`` run; ``None``: nobody was asked."""
        return cls(
            organisation=key.organisation_id,
            max_seconds=settings.max_job_seconds,
            max_queued=settings.max_queued_jobs,
            max_steps=lesser(key.max_steps, settings.max_job_steps),
            max_memory_bytes=lesser(key.max_memory_bytes, settings.max_job_memory_bytes),
            gpu=settings.gpu_jobs == "always" or not without_gpu(offers),
            max_processes=settings.max_job_processes,
        )


UNBOUNDED = Bounds()


@dataclass(frozen=True)
class _Source:
    """What a spec's ``initial_weights`` or ``teacher`` names: its network (fields that are known), classes, file."""

    architecture: dict[str, Any]
    classes: list[str] | None
    sha256: str | None


def check(connection: Connection, spec: JobSpec, bounds: Bounds = UNBOUNDED) -> Sources:
    """Look up everything that the spec refers to, and compare it with what the service allows.

    Raises:
        InvalidSpecError: with every fault.
    """
    faults: list[SpecFault] = []
    dataset = _dataset(connection, spec, bounds, faults)
    if spec.task == "tabular":
        return _check_table(spec, dataset, bounds, faults)
    faults += tabular.of_images(spec, dataset)
    if dataset is not None and dataset.table is not None:
        dataset = None  # told already; its classes need not be
    train = held = 0
    classes, images = ([], 0) if dataset is None else _classes(spec, dataset, faults)
    weights = _initial_weights(connection, spec, bounds, faults)
    teacher = _teacher(connection, spec, classes, bounds, faults)
    _crop(spec, faults)
    _optimizer(spec, faults)
    if dataset is not None and len(classes) > 1 and not any(fault.field.startswith("classes") for fault in faults):
        train, held = split(dataset, classes, images, spec.training.validation_fraction)
        _warmup(spec, train, faults)
        _parallel(spec, train, bounds, faults)
        if bounds.max_steps is not None:
            faults += too_many_steps(spec, train, bounds.max_steps)
        if bounds.max_memory_bytes is not None and (teacher is not None) == (spec.teacher is not None):
            faults += too_much_memory(connection, spec, len(classes), train, train + held, bounds.max_memory_bytes)
    _overrides(spec, faults)
    _search(spec, classes, faults)
    _time(spec, bounds, faults)
    _device(spec, bounds, faults)
    if faults or dataset is None:
        raise InvalidSpecError(faults)
    return Sources(dataset, classes, train, held, weights, teacher)


def _check_table(spec: JobSpec, dataset: DatasetSource | None, bounds: Bounds, faults: list[SpecFault]) -> Sources:
    """:func:`check` of a job that grows trees."""
    faults += tabular.wrong_method(spec, (name for name, row in METHODS.items() if row.task == "tabular"))
    faults += tabular.meaningless(spec)
    rows = None if dataset is None else tabular.rows(spec, dataset, faults)
    if dataset is not None and dataset.table is not None and spec.method.task == "tabular":
        faults += tabular.too_much(spec, dataset.table, bounds.max_steps, bounds.max_memory_bytes)
    _time(spec, bounds, faults)
    if faults or dataset is None or rows is None:
        raise InvalidSpecError(faults)
    return Sources(dataset, rows.classes, rows.train, rows.validation, None, None)


def _dataset(connection: Connection, spec: JobSpec, bounds: Bounds, faults: list[SpecFault]) -> DatasetSource | None:
    builtin = BUILTIN_DATASETS.get(spec.dataset)
    if builtin is not None and not builtin.installed():
        faults.append(SpecFault("dataset", f"{spec.dataset} needs {builtin.requirement}: {builtin.remedy}"))
    found = datasets.source(connection, spec.dataset, organisation=bounds.organisation)
    if found is None:
        mine = (dataset_table.c.id == spec.dataset) & within(dataset_table, bounds.organisation)
        row = connection.execute(select(dataset_table.c.state).where(mine)).scalar_one_or_none()
        messages = {
            None: f"there is no data set {spec.dataset!r}",
            "checking": "the data set is still being looked through; try again when it is ready",
            "invalid": "the data set has faults and cannot be trained on",
        }
        faults.append(SpecFault("dataset", messages.get(row, f"the data set is {row}")))
    return found


def _classes(spec: JobSpec, dataset: DatasetSource, faults: list[SpecFault]) -> tuple[list[str], int]:
    chosen = dataset.classes if spec.classes is None else list(spec.classes)
    known = set(dataset.classes)
    for index, name in enumerate(chosen):
        if name not in known:
            message = f"the data set {spec.dataset} has no class {name!r}"
            faults.append(SpecFault(f"classes.{index}", message, dataset.classes[:_SHOWN]))
    if len(chosen) < 2:
        faults.append(SpecFault("classes", f"training needs at least two classes; the data set has {len(chosen)}"))
    if dataset.counts is None:
        # Built-in sets are balanced, or nearly so.
        return chosen, round(dataset.images * len(chosen) / max(1, len(dataset.classes)))
    return chosen, sum(dataset.counts.get(name, 0) for name in chosen)


def _initial_weights(connection: Connection, spec: JobSpec, bounds: Bounds, faults: list[SpecFault]) -> str | None:
    if spec.initial_weights is None:
        return None
    found = _source(connection, "initial_weights", spec.initial_weights, "weights", bounds, faults)
    if found is None:
        return None
    theirs = found.architecture
    fields = theirs.keys() - _ADAPTED if theirs["name"] == spec.network.name else {"name"}
    for field in sorted(fields):
        here, there = getattr(spec.network, field), theirs[field]
        if here != there:
            message = f"the initial weights are of a network with {field} {there!r}, not {here!r}"
            faults.append(SpecFault(f"architecture.{field}", message, there))
    return found.sha256


def _teacher(
    connection: Connection, spec: JobSpec, classes: list[str], bounds: Bounds, faults: list[SpecFault]
) -> str | None:
    if spec.teacher is None:
        if spec.training.distillation is not None:
            message = "there is no teacher to learn from; name a succeeded job or a model as `teacher`"
            faults.append(SpecFault("training.distillation", message))
        return None
    found = _source(connection, "teacher", spec.teacher, "model", bounds, faults)
    if found is None:
        return None
    if classes and found.classes is not None and found.classes != classes:
        message = "the teacher tells other classes apart, or in another order; use a teacher of the same classes"
        faults.append(SpecFault("teacher", message, found.classes[:_SHOWN]))
    for field in ("channels", "image_size"):
        here, there = getattr(spec.network, field), found.architecture.get(field)
        if here != there:
            message = f"the teacher takes images with {field} {there}, not {here}; both have to agree"
            faults.append(SpecFault(f"architecture.{field}", message, there))
    return found.sha256


def _source(
    connection: Connection, field: str, reference: str, kind: str, bounds: Bounds, faults: list[SpecFault]
) -> _Source | None:
    """The job or the model that ``field`` names, with its file of this kind (``weights`` or ``model``)."""
    if reference.startswith("mdl_"):
        return _registered(connection, field, reference, kind, bounds, faults)
    found = _succeeded(connection, field, reference, "weights" if kind == "weights" else "a model", bounds, faults)
    if found is None:
        return None
    if found[0].task == "tabular":
        faults.append(SpecFault(field, "that job grew trees, which no network learns from"))
        return None
    sha256 = _artifact(connection, field, reference, kind, faults)
    return _Source(found[0].network.model_dump(), found[1].get("classes"), sha256)


def _registered(
    connection: Connection, field: str, model_id: str, kind: str, bounds: Bounds, faults: list[SpecFault]
) -> _Source | None:
    """A model of the registry; locked, so that its files are not deleted before they are referred to."""
    query = select(models).where(models.c.id == model_id, within(models, bounds.organisation))
    row = connection.execute(query.with_for_update(read=True)).one_or_none()
    if row is None:
        faults.append(SpecFault(field, f"there is no model {model_id!r}"))
        return None
    if row.format == "trees":
        faults.append(SpecFault(field, "those are trees, which no network learns from"))
        return None
    if kind == "model" and row.format != "packed":
        faults.append(SpecFault(field, "those are weights, which do not predict alone; name a packed model"))
        return None
    sha256 = row.weights_sha256 if kind == "weights" else row.sha256
    if sha256 is None:
        message = "that model has one bit per weight only, which training cannot go on from; name one with full weights"
        faults.append(SpecFault(field, message))
        return None
    return _Source(row.facts["architecture"], row.facts.get("classes"), sha256)


def _succeeded(
    connection: Connection, field: str, job_id: str, what: str, bounds: Bounds, faults: list[SpecFault]
) -> tuple[JobSpec, dict[str, Any]] | None:
    """Spec and result of the job that ``field`` names, if it has come to an end that left files."""
    mine = (jobs.c.id == job_id) & within(jobs, bounds.organisation)
    query = select(jobs.c.state, jobs.c.spec, jobs.c.result).where(mine)
    row = connection.execute(query).one_or_none()
    if row is None:
        faults.append(SpecFault(field, f"there is no job {job_id!r}"))
        return None
    if row.state != JobState.SUCCEEDED.value:
        faults.append(SpecFault(field, f"that job is {row.state}; only a succeeded job has {what}"))
        return None
    return JobSpec.model_validate(row.spec), row.result or {}


def _artifact(connection: Connection, field: str, job_id: str, kind: str, faults: list[SpecFault]) -> str | None:
    """Digest of a file that a succeeded job left; locked, so that it is not deleted before it is referred to."""
    query = select(artifacts.c.sha256).where(artifacts.c.job_id == job_id, artifacts.c.kind == kind)
    sha256 = connection.execute(query.with_for_update(read=True)).scalars().first()
    if sha256 is None:
        faults.append(SpecFault(field, f"that job left no {kind}"))
    return sha256


def _optimizer(spec: JobSpec, faults: list[SpecFault]) -> None:
    if spec.training.optimizer == "muon" and not spec.method.binarises:
        message = f"muon is for the weights of binarised layers, and method {spec.method.name!r} has none"
        faults.append(SpecFault("training.optimizer", message, ["adam", "sgd"]))


def _warmup(spec: JobSpec, train_images: int, faults: list[SpecFault]) -> None:
    steps = steps_per_epoch(train_images, spec) * spec.training.epochs
    if spec.training.warmup_steps >= steps:
        message = f"the run has {steps} steps in all, so the warm-up must be shorter"
        faults.append(SpecFault("training.warmup_steps", message, f"at most {steps - 1}"))


def _parallel(spec: JobSpec, train_images: int, bounds: Bounds, faults: list[SpecFault]) -> None:
    if spec.parallel is None:
        return
    processes, training = spec.parallel.processes, spec.training
    allowed = bounds.max_processes
    if allowed is not None and processes > allowed:
        message = f"{processes} processes are more than a job may have here"
        faults.append(SpecFault("parallel.processes", message, {"maximum": allowed}))
    most = min(training.batch_size // training.accumulate, train_images)
    if processes > most:
        message = (
            f"{processes} processes cannot share a micro-batch of {most} images; use fewer, a larger "
            "training.batch_size, or a smaller training.accumulate"
        )
        faults.append(SpecFault("parallel.processes", message, {"maximum": most}))


def _crop(spec: JobSpec, faults: list[SpecFault]) -> None:
    padding, size = spec.training.augment.pad_crop, spec.network.image_size
    if padding >= size:
        message = f"{padding} pixels of padding are too much for images of {size} pixels"
        faults.append(SpecFault("training.augment.pad_crop", message, f"at most {size - 1}"))


def _overrides(spec: JobSpec, faults: list[SpecFault]) -> None:
    if not spec.method.exceptions:
        return
    lost, names = unmatched(spec.network, spec.method)
    for number in lost:
        pattern = spec.method.exceptions[number].pattern
        message = f"{pattern!r} matches no layer of this network that can be binarised"
        faults.append(SpecFault(f"method.overrides.{number}.pattern", message, names[:_SHOWN]))


_NOT_SEARCHED = {
    "optimizer": "adam",
    "accumulate": 1,
    "ema": None,
    "early_stopping_patience": None,
    "checkpoint_every_steps": None,
}
"""Training options that a search does not have, with the one value that it can go with."""


def _search(spec: JobSpec, classes: list[str], faults: list[SpecFault]) -> None:
    search = spec.search
    if search is None:
        return
    found = obstacles(spec.network, spec.method)
    if not found and len(classes) > 1:
        found |= {f"search.{name}": TOO_TIGHT for name in beyond_budget(spec.network, len(classes), search)}
    for field in ("initial_weights", "teacher", "parallel"):
        if getattr(spec, field) is not None:
            found[field] = "a search begins from scratch: leave it out, and give it to the training job"
    for name, value in _NOT_SEARCHED.items():
        if getattr(spec.training, name) != value:
            found[f"training.{name}"] = f"a search goes without: leave it out, or use {json.dumps(value)}"
    if search.warmup_epochs >= spec.training.epochs:
        epochs = spec.training.epochs
        found["search.warmup_epochs"] = f"must leave epochs to search in, of {epochs} in all: use fewer, or more epochs"
    faults += [SpecFault(field, message) for field, message in found.items()]


def _time(spec: JobSpec, bounds: Bounds, faults: list[SpecFault]) -> None:
    asked, allowed = spec.timeout_seconds, bounds.max_seconds
    if asked is not None and allowed is not None and asked > allowed:
        message = f"{asked:g} seconds are more than a job may run here"
        faults.append(SpecFault("timeout_seconds", message, {"maximum": allowed}))


def _device(spec: JobSpec, bounds: Bounds, faults: list[SpecFault]) -> None:
    if spec.device == "cuda" and not bounds.gpu:
        message = (
            "no worker that runs now has a GPU; use one of those that are allowed, or start a worker on a machine with "
            "a GPU (FQT_QUEUES=cuda); with FQT_GPU_JOBS=always such jobs are accepted, and wait for one"
        )
        faults.append(SpecFault("device", message, ["auto", "cpu"]))
