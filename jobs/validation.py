"""Whether a job spec fits what the store holds. Every fault is reported, not only the first."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from fqt_core.config.builtin import BUILTIN_DATASETS
from jobs import datasets
from jobs.datasets import DatasetSource
from jobs.errors import InvalidSpecError, SpecFault
from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.tables import artifacts, jobs
from jobs.tables import datasets as dataset_table

_SAME_FIELDS = ("name", "stem", "width")  # what must agree; heads and grey against RGB are adapted when loading
_SHOWN = 50


@dataclass(frozen=True)
class Sources:
    """What a valid spec refers to, pinned by digest."""

    dataset: DatasetSource
    classes: list[str]
    images: int
    initial_weights_sha256: str | None


def check(connection: Connection, spec: JobSpec) -> Sources:
    """Look up everything that the spec refers to.

    Raises:
        InvalidSpecError: with every fault.
    """
    faults: list[SpecFault] = []
    dataset = _dataset(connection, spec, faults)
    classes, images = ([], 0) if dataset is None else _classes(spec, dataset, faults)
    weights = _initial_weights(connection, spec, faults)
    _crop(spec, faults)
    if faults or dataset is None:
        raise InvalidSpecError(faults)
    return Sources(dataset, classes, images, weights)


def _dataset(connection: Connection, spec: JobSpec, faults: list[SpecFault]) -> DatasetSource | None:
    builtin = BUILTIN_DATASETS.get(spec.dataset)
    if builtin is not None and not builtin.installed():
        faults.append(SpecFault("dataset", f"{spec.dataset} needs {builtin.requirement}: {builtin.remedy}"))
    found = datasets.source(connection, spec.dataset)
    if found is None:
        row = connection.execute(
            select(dataset_table.c.state).where(dataset_table.c.id == spec.dataset)
        ).scalar_one_or_none()
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


def _initial_weights(connection: Connection, spec: JobSpec, faults: list[SpecFault]) -> str | None:
    if spec.initial_weights is None:
        return None
    row = connection.execute(select(jobs.c.state, jobs.c.spec).where(jobs.c.id == spec.initial_weights)).one_or_none()
    if row is None:
        faults.append(SpecFault("initial_weights", f"there is no job {spec.initial_weights!r}"))
        return None
    if row.state != JobState.SUCCEEDED.value:
        faults.append(SpecFault("initial_weights", f"that job is {row.state}; only a succeeded job has weights"))
        return None
    theirs = JobSpec.model_validate(row.spec).architecture
    for field in _SAME_FIELDS:
        here, there = getattr(spec.architecture, field), getattr(theirs, field)
        if here != there:
            message = f"the initial weights are of a network with {field} {there!r}, not {here!r}"
            faults.append(SpecFault(f"architecture.{field}", message, there))
    query = select(artifacts.c.sha256).where(artifacts.c.job_id == spec.initial_weights, artifacts.c.kind == "weights")
    sha256 = connection.execute(query.with_for_update(read=True)).scalars().first()
    if sha256 is None:
        faults.append(SpecFault("initial_weights", "that job left no weights"))
    return sha256


def _crop(spec: JobSpec, faults: list[SpecFault]) -> None:
    padding, size = spec.training.augment.pad_crop, spec.architecture.image_size
    if padding >= size:
        message = f"{padding} pixels of padding are too much for images of {size} pixels"
        faults.append(SpecFault("training.augment.pad_crop", message, f"at most {size - 1}"))
