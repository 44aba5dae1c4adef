"""What a sweep searches: a base job spec, fields of it by dotted name with the values they may take, and how."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from jobs.spec import JobSpec

MOST_JOBS = 1000
_DEFAULT_JOBS = 20
_MOST_CHECKED = 128

Metric: TypeAlias = Literal["validation_accuracy", "validation_loss", "train_accuracy", "train_loss"]
Direction: TypeAlias = Literal["maximize", "minimize"]
FieldName = Annotated[str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)*$", max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Choice(_Strict):
    """One of some values: of any kind, whole groups of options included."""

    type: Literal["choice"]
    values: list[Any] = Field(min_length=1, max_length=100, description="What the field may be.")

    def extremes(self) -> list[Any]:
        """All of them: there is no order."""
        return self.values

    def grid(self) -> list[Any]:
        """The values, in the order given."""
        return self.values


class _Range(_Strict):
    @field_validator("high", check_fields=False)
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low")
        if low is not None and high < low:
            raise ValueError(f"must not be less than low, which is {low:g}")
        return high


class Uniform(_Range):
    """A number of a range, every one as likely."""

    type: Literal["uniform"]
    low: float = Field(description="The least value.")
    high: float = Field(description="The greatest value.")
    step: float | None = Field(default=None, gt=0, description="Only low, low + step, …; null: any number between.")

    def extremes(self) -> list[Any]:
        """Both ends."""
        return list(dict.fromkeys([self.low, self.high if self.step is None else (self.grid() or [self.high])[-1]]))

    def grid(self) -> list[Any] | None:
        """The values in order; ``None``: they cannot be counted."""
        if self.step is None:
            return None
        count = math.floor((self.high - self.low) / self.step + 1e-9) + 1
        return [self.low + self.step * index for index in range(min(count, MOST_JOBS + 1))]


class LogUniform(_Range):
    """A positive number of a range, every order of magnitude as likely."""

    type: Literal["log_uniform"]
    low: float = Field(gt=0, description="The least value.")
    high: float = Field(gt=0, description="The greatest value.")

    def extremes(self) -> list[Any]:
        """Both ends."""
        return list(dict.fromkeys([self.low, self.high]))

    def grid(self) -> None:
        """They cannot be counted."""


class IntRange(_Range):
    """A whole number of a range."""

    type: Literal["int"]
    low: int = Field(ge=-(2**53), le=2**53, description="The least value.")
    high: int = Field(ge=-(2**53), le=2**53, description="The greatest value.")
    step: int = Field(default=1, ge=1, le=2**53, description="Only low, low + step, ….")
    log: bool = Field(default=False, description="Every order of magnitude as likely: low from 1, and step 1.")

    @field_validator("log")
    @classmethod
    def _log_from_one(cls, log: bool, info: ValidationInfo) -> bool:
        if log and (info.data.get("low", 1) < 1 or info.data.get("step", 1) != 1):
            raise ValueError("needs a low of at least 1, and a step of 1")
        return log

    def extremes(self) -> list[Any]:
        """Both ends."""
        return list(dict.fromkeys([self.low, self.high - (self.high - self.low) % self.step]))

    def grid(self) -> list[Any]:
        """The values in order, no more than could be tried."""
        return list(islice(range(self.low, self.high + 1, self.step), MOST_JOBS + 1))


Dimension: TypeAlias = Annotated[Choice | Uniform | LogUniform | IntRange, Field(discriminator="type")]


class Pruning(_Strict):
    """When a job that does worse than others is cancelled before its end; told from its figures after each epoch."""

    name: Literal["median", "hyperband"] = Field(
        default="median",
        description="`median`: worse than the median of the others after as many epochs. `hyperband`: successive "
        "halving, in brackets of different patience.",
    )
    warmup_epochs: int = Field(default=1, ge=0, le=10_000, description="No job is cancelled within so many epochs.")
    startup_jobs: int = Field(
        default=5, ge=0, le=MOST_JOBS, description="`median` cancels none before so many have come to their end."
    )


class SweepSpec(_Strict):
    """A search over fields of a job spec."""

    name: str | None = Field(default=None, min_length=1, max_length=200, description="A name for people.")
    base: dict[str, Any] = Field(description="The job spec (`JobSpec`) of all jobs, but for the fields of `space`.")
    space: dict[FieldName, Dimension] = Field(
        min_length=1,
        max_length=50,
        description="What is searched: dotted names of fields of the job spec (`training.learning_rate`) and the "
        "values that they may take.",
        json_schema_extra={"additionalProperties": False},  # names that the pattern does not fit
    )
    algorithm: Literal["grid", "random", "tpe"] = Field(
        default="tpe",
        description="`grid`: all combinations, the last field first; `random`: independent draws; `tpe`: draws that "
        "learn from the jobs before (tree-structured Parzen estimator, of Optuna).",
    )
    metric: Metric = Field(
        default="validation_accuracy", description="What is compared: the best value over a job's epochs."
    )
    direction: Direction | None = Field(
        default=None, description="Which values are better; null: high accuracies, low losses."
    )
    max_jobs: int | None = Field(
        default=None, ge=1, le=MOST_JOBS, description=f"Jobs in all; null: the whole grid, or {_DEFAULT_JOBS}."
    )
    parallel: int = Field(default=1, ge=1, le=100, description="Jobs of the sweep that wait or run at the same time.")
    pruning: Pruning | None = Field(default=None, description="Early ends of jobs without a prospect; null: none.")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seed of what is drawn.")

    @property
    def maximizes(self) -> bool:
        """Whether high values are better, with the default resolved."""
        return (self.direction or ("maximize" if "accuracy" in self.metric else "minimize")) == "maximize"

    @property
    def grid_size(self) -> int | None:
        """Combinations of the grid; ``None``: some field has no countable values."""
        axes = [dimension.grid() for dimension in self.space.values()]
        return None if None in axes else math.prod(len(axis or []) for axis in axes)

    @property
    def jobs(self) -> int:
        """How many jobs there will be."""
        if self.algorithm == "grid":
            return min(self.grid_size or 0, self.max_jobs or MOST_JOBS)
        return self.max_jobs or _DEFAULT_JOBS

    def better(self, values: Sequence[float]) -> float | None:
        """The best of some values; ``None`` of none."""
        return (max if self.maximizes else min)(values, default=None)

    def combination(self, number: int) -> dict[str, Any]:
        """The grid's point of this number, from 0."""
        parameters = {}
        for name, dimension in reversed(self.space.items()):
            values = dimension.grid() or []
            number, index = divmod(number, len(values))
            parameters[name] = values[index]
        return {name: parameters[name] for name in self.space}

    def corners(self) -> Iterator[dict[str, Any]]:
        """Extreme points of the space: all, if they are few; else each extreme of each field, beside the least and
        beside the greatest values of the others."""
        extremes = {name: dimension.extremes() for name, dimension in self.space.items()}
        if math.prod(map(len, extremes.values())) <= _MOST_CHECKED:
            for point in product(*extremes.values()):
                yield dict(zip(extremes, point, strict=True))
            return
        for end in (0, -1):
            plain = {name: values[end] for name, values in extremes.items()}
            yield plain
            for name, values in extremes.items():
                yield from (plain | {name: value} for value in values)

    def body(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The job spec with these values, as JSON: not yet checked."""
        made = copy.deepcopy(self.base)
        for name, value in parameters.items():
            _put(made, name.split("."), copy.deepcopy(value))
        return made

    def owner(self, field: str) -> str:
        """Where a field of a job spec comes from, as a path of this spec: below ``space`` or ``base``."""
        for name in self.space:
            if field == name or field.startswith(f"{name}.") or name.startswith(f"{field}."):
                return f"space.{name}"
        return f"base.{field}" if field else "base"

    def overlaps(self) -> list[tuple[str, str]]:
        """Pairs of fields of which the first holds the second."""
        return [(outer, inner) for outer in self.space for inner in self.space if inner.startswith(f"{outer}.")]


def _put(made: dict[str, Any], path: list[str], value: Any) -> None:
    """Set a value, and make what is missing on the way to it. What makes no sense is refused when the spec is read."""
    here: Any = made
    for depth, part in enumerate(path[:-1]):
        inner = here[int(part)] if _indexes(here, part) else here.get(part) if isinstance(here, dict) else None
        if not isinstance(inner, dict | list):
            inner = {} if depth else _with_default_name(part, made)
            if not _set(here, part, inner):
                return
        here = inner
    _set(here, path[-1], value)


def _set(here: Any, part: str, value: Any) -> bool:
    if isinstance(here, dict):
        here[part] = value
    elif _indexes(here, part):
        here[int(part)] = value
    else:  # no such place: say so by the unknown entry that it leaves in the list
        here.append({part: value})
        return False
    return True


def _indexes(here: Any, part: str) -> bool:
    return isinstance(here, list) and part.isdigit() and int(part) < len(here)


def _with_default_name(field: str, made: dict[str, Any]) -> dict[str, Any]:
    """Options of the default method or network, which are told apart by their name, for a spec as far as it is made."""
    row = JobSpec.model_fields.get(field)
    default = None if row is None else row.get_default(call_default_factory=True, validated_data=made)
    name = getattr(default, "name", None)
    return {} if name is None else {"name": name}
