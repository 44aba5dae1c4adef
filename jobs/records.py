"""What the functions of this package return: frozen rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar, get_args

from sqlalchemy import Row

from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.sweep_spec import SweepSpec

T = TypeVar("T")

EventType: TypeAlias = Literal["state", "metric", "log", "checkpoint", "artifact", "warning"]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
SweepState: TypeAlias = Literal["running", "finished", "cancelled", "failed"]
TrialState: TypeAlias = Literal["running", "succeeded", "pruned", "cancelled", "failed"]
DatasetState: TypeAlias = Literal["checking", "ready", "invalid"]
ModelSource: TypeAlias = Literal["job", "upload"]
ModelFormat: TypeAlias = Literal["packed", "weights", "trees"]


@dataclass(frozen=True)
class Page(Generic[T]):
    """One page of a list; ``has_more`` says that the last item's id as ``after`` gives another one."""

    data: list[T]
    has_more: bool


class _Row:
    """A dataclass that takes the columns of its own names from a row."""

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Make the object from the columns of a row."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Organisation(_Row):
    """Who shares data sets, jobs and models. ``name`` is unique."""

    id: str
    name: str
    created_at: datetime


@dataclass(frozen=True)
class Job(_Row):
    """A job as it stands. ``labels`` are its maker's own words for it.

    ``record``, ``progress``, ``result`` and ``error`` are as shown to users.
    """

    id: str
    organisation_id: str
    name: str | None
    state: JobState
    queue: str
    spec: JobSpec
    dataset_id: str | None
    dataset_sha256: str | None
    initial_weights_sha256: str | None
    teacher_sha256: str | None
    created_by: str | None
    request_id: str | None
    traceparent: str | None
    labels: dict[str, str] | None
    lease_epoch: int
    failures: int
    next_seq: int
    created_at: datetime
    ran_seconds: float = 0.0
    lease_owner: str | None = None
    lease_expires_at: datetime | None = None
    not_before: datetime | None = None
    record: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Make the object from a row of ``jobs``."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        values["state"] = JobState(values["state"])
        values["spec"] = JobSpec.model_validate(values["spec"])
        return cls(**values)

    @property
    def version(self) -> str:
        """Changes whenever anything that is shown of the job changes: for ETags."""
        return f"{self.id}-{self.next_seq}"


@dataclass(frozen=True)
class Sweep(_Row):
    """A search over fields of a job spec. ``reason`` (code, message): why it ended, unless by itself with a result."""

    id: str
    organisation_id: str
    name: str | None
    state: SweepState
    spec: SweepSpec
    reason: dict[str, Any] | None
    created_by: str | None
    request_id: str | None
    lease_epoch: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """Make the object from a row of ``sweeps``."""
        values = {field.name: getattr(row, field.name) for field in fields(cls)}
        values["spec"] = SweepSpec.model_validate(values["spec"])
        return cls(**values)


@dataclass(frozen=True)
class Trial(_Row):
    """One point of a sweep and its job, if that is still there, with the job's state.

    ``parameters``: dotted field to value. ``value``: what the metric came to. ``reported``: epoch to value as far as
    the engine was told; ``notes``: what the pruner remembers.
    """

    number: int
    job_id: str | None
    job_state: str | None
    state: TrialState
    parameters: dict[str, Any]
    value: float | None
    reported: dict[str, float]
    notes: dict[str, Any]
    reason: str | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def busy(self) -> bool:
        """Whether its job has not ended."""
        return self.job_state is not None and not JobState(self.job_state).terminal


@dataclass(frozen=True)
class JobEvent(_Row):
    """One row of a job's log. ``seq`` counts from 1 without gaps; ``epoch`` is the attempt's that wrote it."""

    job_id: str
    seq: int
    type: EventType
    epoch: int
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Checkpoint(_Row):
    """A checkpoint that a job can be resumed from. ``details`` is the child's event without its path."""

    id: str
    job_id: str
    step: int
    sha256: str
    size: int
    epoch: int
    details: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Artifact(_Row):
    """A result file of a job: ``name`` is unique within the job, ``kind`` is model, weights or report."""

    id: str
    job_id: str
    name: str
    kind: str
    sha256: str
    size: int
    epoch: int
    details: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class Dataset(_Row):
    """A data set of the store. ``profile`` when ready; ``error`` (code, message, faults) when invalid.

    ``source`` is ``None`` for an upload, else ``{"kind": "url", "url", …}`` or ``{"kind": "folder", "folder"}``; then
    ``sha256`` and ``size`` are ``None`` until a worker has fetched or read it. ``sha256`` of a folder is that of its
    listing, which holds the digest of each file.
    """

    id: str
    organisation_id: str
    name: str
    filename: str | None
    source: dict[str, Any] | None
    sha256: str | None
    size: int | None
    thumbnails_sha256: str | None
    format: str | None
    state: DatasetState
    profile: dict[str, Any] | None
    error: dict[str, Any] | None
    check_epoch: int
    created_by: str | None
    created_at: datetime


@dataclass(frozen=True)
class Model(_Row):
    """A model of the registry: what a job made, or an upload.

    ``facts`` says what it is (architecture, method, classes, arithmetic, metrics, …); ``evaluation`` has its curves and
    confusions. ``parent_id`` and ``teacher_id`` are models or, where those have no row, jobs.
    """

    id: str
    organisation_id: str
    name: str | None
    source: ModelSource
    format: ModelFormat
    job_id: str | None
    dataset_id: str | None
    dataset_sha256: str | None
    parent_id: str | None
    teacher_id: str | None
    architecture: str
    method: str | None
    sha256: str
    size: int
    weights_sha256: str | None
    facts: dict[str, Any]
    evaluation: dict[str, Any] | None
    created_by: str | None
    created_at: datetime


@dataclass(frozen=True)
class ModelExport(_Row):
    """A model in another format, made on request."""

    model_id: str
    format: str
    sha256: str
    size: int
    details: dict[str, Any]
    created_at: datetime
