"""What the service answers, as frozen dataclasses. Fields that a newer service adds are kept in ``raw``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, Self, TypeAlias, TypeVar

from fqt_client.display import job_html, markdown_table
from fqt_client.errors import FieldFault, UnexpectedAnswerError, fault_from_json

JobState: TypeAlias = Literal[
    "queued", "running", "pausing", "paused", "cancelling", "cancelled", "succeeded", "failed"
]
TERMINAL_STATES: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, kw_only=True)
class Resource:
    """Base of everything the service answers. ``raw`` is the JSON object as it came."""

    SHORT: ClassVar[tuple[str, ...]] = ()
    """The attributes that tell one from another in a list."""

    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def short(self) -> dict[str, Any]:
        """The attributes that tell it from others, those without a value left out."""
        found = {name: getattr(self, name) for name in self.SHORT}
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one JSON object.

        Raises:
            UnexpectedAnswerError: it is no object, or lacks a field that has no default.
        """
        if not isinstance(data, Mapping):
            raise UnexpectedAnswerError(f"expected a {cls.__name__.lower()} object, not {type(data).__name__}")
        values = {entry.name: data[entry.name] for entry in fields(cls) if entry.name != "raw" and entry.name in data}
        missing = [
            entry.name
            for entry in fields(cls)
            if entry.name not in values and entry.default is MISSING and entry.default_factory is MISSING
        ]
        if missing:
            raise UnexpectedAnswerError(f"the {cls.__name__.lower()} object lacks {', '.join(missing)}")
        return cls(**cls._convert(values), raw=data)

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if name.endswith("_at") and isinstance(value, str):
                values[name] = datetime.fromisoformat(value)
        return values


@dataclass(frozen=True, kw_only=True)
class Identified(Resource):
    """What the service has under an id, by which its lists go on."""

    id: str


def brief(resource: Resource) -> str:
    """A repr on one line: what is nested stays in the attributes."""
    told = ", ".join(f"{name}={value!r}" for name, value in resource.short().items())
    return f"{type(resource).__name__}({told})"


@dataclass(frozen=True, kw_only=True, repr=False)
class Dataset(Identified):
    """A data set: uploaded, downloaded or mounted (`ds_…`), or built in.

    ``origin`` says which, and from where; ``same_as`` is the id of the first data set with the very same bytes.
    """

    SHORT = ("id", "name", "state", "images")
    __repr__ = brief

    name: str | None = None
    state: str = "ready"
    format: str | None = None
    size: int | None = None
    sha256: str | None = None
    same_as: str | None = None
    origin: Mapping[str, Any] | None = None
    profile: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    created_at: datetime | None = None

    @property
    def classes(self) -> list[str]:
        """Names of its classes, in label order; empty while it is being checked."""
        listed = (self.profile or {}).get("classes") or self.raw.get("classes") or []
        return [str(entry["name"] if isinstance(entry, Mapping) else entry) for entry in listed]

    @property
    def images(self) -> int | None:
        """How many images it holds."""
        count = (self.profile or {}).get("images", self.raw.get("images"))
        return count if isinstance(count, int) else None

    @property
    def table(self) -> Mapping[str, Any] | None:
        """Rows and columns of a table; None: it holds images."""
        found: Mapping[str, Any] | None = (self.profile or {}).get("table")
        return found


@dataclass(frozen=True, kw_only=True)
class Progress(Resource):
    """How far a job has come."""

    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    epochs: int | None = None
    loss: float | None = None
    validation_accuracy: float | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class JobFault(Resource):
    """Why a job failed. ``param`` is the field of the spec that is to blame, if one is; ``log`` its last lines."""

    code: str = "failed"
    message: str = ""
    param: str | None = None
    attempts: int | None = None
    log: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, repr=False)
class Job(Identified):
    """A training job. ``ran_seconds``: what all its attempts that have ended took together.

    In a notebook it shows its state, its progress and its curves, which ``load_curves`` gives.
    """

    __repr__ = brief

    state: JobState
    name: str | None = None
    spec: Mapping[str, Any] = field(default_factory=dict)
    record: Mapping[str, Any] | None = None
    progress: Progress | None = None
    result: Mapping[str, Any] | None = None
    error: JobFault | None = None
    ran_seconds: float | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    load_curves: Callable[[], Sequence[Series]] | None = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"load_curves": None}  # a copy elsewhere has no connection to fetch them by

    def short(self) -> dict[str, Any]:
        """What tells it from other jobs, in a few words."""
        spec, progress = self.spec, self.progress
        chosen = {part: (spec.get(part) or {}).get("name") for part in ("method", "architecture")}
        steps = f"{progress.step}/{progress.total_steps}" if progress is not None and progress.total_steps else None
        told = {"id": self.id, "name": self.name, "state": self.state, **chosen, "dataset": spec.get("dataset")}
        told |= {"progress": steps, "accuracy": self.accuracy}
        return {name: value for name, value in told.items() if value is not None}

    def _repr_html_(self) -> str:
        return job_html(self)

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = super()._convert(values)
        if values.get("progress") is not None:
            values["progress"] = Progress.from_json(values["progress"])
        if values.get("error") is not None:
            values["error"] = JobFault.from_json(values["error"])
        return values

    @property
    def ended(self) -> bool:
        """Whether it has reached its last state."""
        return self.state in TERMINAL_STATES

    @property
    def accuracy(self) -> float | None:
        """Validation accuracy of the result, or of the last epoch so far; None before the first."""
        found = (self.result or {}).get("validation_accuracy")
        if found is None and self.progress is not None:
            found = self.progress.validation_accuracy
        return found

    @property
    def seconds(self) -> float | None:
        """Wall-clock seconds from its start to its end, once it has both."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Plan(Resource):
    """What a dry run answers. ``seconds`` is None without like jobs to go by: then ``seconds_reason`` says so.

    ``warnings`` name what keeps the job from running on the workers of the moment, ``advice`` what keeps it from a good
    result, both with what to do about it. ``input`` says what the network sees of an image, and what the images are.
    """

    spec: Mapping[str, Any] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    input: Mapping[str, Any] | None = None
    train_images: int | None = None
    validation_images: int | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    steps: int | None = None
    arithmetic: str | None = None
    parameters: int | None = None
    binary_parameters: int | None = None
    macs: int | None = None
    step_macs: int | None = None
    gradient_bits: float | None = None
    bits_are_chosen: bool = False
    model_bytes: int | None = None
    fp32_bytes: int | None = None
    memory_bytes: int | None = None
    seconds: float | None = None
    seconds_reason: str | None = None
    presets: list[Mapping[str, Any]] = field(default_factory=list)
    warnings: list[FieldFault] = field(default_factory=list)
    advice: list[FieldFault] = field(default_factory=list)

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        for told in ("warnings", "advice"):
            values[told] = [fault_from_json(entry) for entry in values.get(told) or []]
        return super()._convert(values)


@dataclass(frozen=True, kw_only=True)
class Event(Resource):
    """One entry of a job's event log. ``seq`` counts from 1 without gaps."""

    seq: int
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Series(Resource):
    """One curve: ``values[i]`` after ``steps[i]`` optimiser steps; None where a value was not finite."""

    SHORT = ("kind", "name", "points")

    kind: str
    name: str
    steps: list[int]
    values: list[float | None]

    @property
    def points(self) -> int:
        """How many points it has."""
        return len(self.steps)


@dataclass(frozen=True, kw_only=True)
class Artifact(Resource):
    """A result file of a job. ``kind`` is `model`, `weights` or `report`; ``size`` counts bytes."""

    SHORT = ("name", "kind", "size", "sha256")

    name: str
    kind: str
    size: int
    sha256: str
    details: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Model(Identified):
    """A model of the registry. ``format`` is `packed` (predicts) or `weights`; ``lineage`` says what it came from."""

    SHORT = ("id", "name", "format", "accuracy", "size")

    format: str
    size: int
    sha256: str
    name: str | None = None
    source: str = "job"
    architecture: Mapping[str, Any] = field(default_factory=dict)
    method: Mapping[str, Any] | None = None
    classes: list[str] | None = None
    metrics: Mapping[str, Any] | None = None
    arithmetic: str | None = None
    has_full_weights: bool = False
    lineage: Mapping[str, Any] = field(default_factory=dict)
    evaluation: Mapping[str, Any] | None = None
    created_at: datetime | None = None

    @property
    def accuracy(self) -> float | None:
        """Its accuracy on validation images, 0 to 1, if it is known."""
        return (self.metrics or {}).get("validation_accuracy")


@dataclass(frozen=True, kw_only=True)
class Export(Resource):
    """A model in another format; ``model`` is its id."""

    model: str
    format: str
    size: int
    sha256: str
    details: Mapping[str, Any] = field(default_factory=dict)
    created_at: datetime | None = None


def _with_pairs(values: dict[str, Any]) -> dict[str, Any]:
    return values | {"top": [(str(entry["label"]), float(entry["probability"])) for entry in values.get("top") or []]}


@dataclass(frozen=True, kw_only=True)
class Prediction(Resource):
    """What one image shows: the most probable class, and the ``top`` ones as (label, probability)."""

    SHORT = ("label", "probability")

    label: str
    probability: float
    top: list[tuple[str, float]] = field(default_factory=list)

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        return super()._convert(_with_pairs(values))


@dataclass(frozen=True, kw_only=True)
class RowPrediction(Resource):
    """What trees predict for one row of a table: a ``value`` in regression, else a class as in :class:`Prediction`."""

    SHORT = ("label", "probability", "value")

    label: str | None = None
    probability: float | None = None
    value: float | None = None
    top: list[tuple[str, float]] = field(default_factory=list)

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        return super()._convert(_with_pairs(values))


@dataclass(frozen=True, kw_only=True)
class Choice(Resource):
    """A method or an architecture that can be asked for; ``options`` is the JSON schema of its options."""

    SHORT = ("name", "title", "summary")

    name: str
    title: str = ""
    summary: str = ""
    source: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    presets: list[Mapping[str, Any]] = field(default_factory=list)


def explained_by(result: Mapping[str, Any] | None) -> float | None:
    """The share of the target's variance that trees explain on validation rows; None: they tell classes apart."""
    share: float | None = (((result or {}).get("tabular") or {}).get("kept") or {}).get("validation_r2")
    return share


def examples_of(spec: Mapping[str, Any]) -> str:
    """What a job with this spec learns from: images, or rows of a table."""
    return "rows" if spec.get("task") == "tabular" else "images"


R = TypeVar("R", bound=Resource)


class Listing(list[R]):
    """A list that a notebook shows as a table."""

    def _repr_markdown_(self) -> str:
        return markdown_table(entry.short() for entry in self)


@dataclass(frozen=True)
class Page(Generic[R]):
    """One page of a list. ``has_more`` says that there are entries after the last one."""

    data: Listing[R]
    has_more: bool

    def _repr_markdown_(self) -> str:
        return self.data._repr_markdown_() + ("\n\n*and more*" if self.has_more else "")

    @classmethod
    def from_json(cls, kind: type[R], data: Any) -> Page[R]:
        """Read a list object of ``kind``.

        Raises:
            UnexpectedAnswerError: it is no list object.
        """
        if not isinstance(data, Mapping) or not isinstance(data.get("data"), list):
            raise UnexpectedAnswerError(f"expected a list of {kind.__name__.lower()} objects")
        return cls(Listing(kind.from_json(entry) for entry in data["data"]), bool(data.get("has_more", False)))
