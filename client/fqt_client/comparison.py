"""Jobs side by side, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from fqt_client.display import comparison_html
from fqt_client.models import JobState, Resource

Alignment: TypeAlias = Literal["step", "epoch", "time"]


@dataclass(frozen=True, kw_only=True)
class Point(Resource):
    """A value of a metric, None if it was not finite, and after how many optimiser steps."""

    value: float | None
    step: int


@dataclass(frozen=True, kw_only=True)
class Curve(Resource):
    """``values[i]`` at ``x[i]``: steps, epochs or seconds, as was asked."""

    x: list[float]
    values: list[float | None]


@dataclass(frozen=True, kw_only=True)
class ComparedMetric(Resource):
    """What a metric came to in one job. ``min`` and ``max`` are None if no value was finite."""

    kind: str
    name: str
    points: int
    last: Point
    min: Point | None = None
    max: Point | None = None
    curve: Curve | None = None

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("min", "max", "last"):
            if values.get(name) is not None:
                values[name] = Point.from_json(values[name])
        if values.get("curve") is not None:
            values["curve"] = Curve.from_json(values["curve"])
        return super()._convert(values)


@dataclass(frozen=True, kw_only=True)
class ComparedJob(Resource):
    """A job beside the others. ``parameters``: those that differ, by dotted name."""

    id: str
    state: JobState
    name: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    metrics: list[ComparedMetric] = field(default_factory=list)
    created_at: datetime | None = None
    finished_at: datetime | None = None

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        values["metrics"] = [ComparedMetric.from_json(entry) for entry in values.get("metrics") or []]
        return super()._convert(values)

    def metric(self, name: str, kind: str | None = None) -> ComparedMetric | None:
        """The metric of this name (and kind); None: the job did not report it."""
        return next((entry for entry in self.metrics if entry.name == name and kind in (None, entry.kind)), None)


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Resource):
    """Jobs side by side. ``differing``: dotted names of the parameters that differ; ``equal``: the others, if asked.

    In a notebook it shows the parameters and the curves.
    """

    align: Alignment
    differing: list[str]
    jobs: list[ComparedJob]
    equal: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        return f"Comparison({len(self.jobs)} jobs, differing={self.differing!r})"

    def _repr_html_(self) -> str:
        return comparison_html(self)

    @property
    def metrics(self) -> list[tuple[str, str]]:
        """Kind and name of every metric that any of the jobs has."""
        return list(dict.fromkeys((metric.kind, metric.name) for job in self.jobs for metric in job.metrics))

    @property
    def telling(self) -> list[str]:
        """Those of ``differing`` that differ among the jobs that have them at all.

        The others are options of a method or a network that only some have, which its name says already.
        """
        found = []
        for name in self.differing:
            values = [job.parameters[name] for job in self.jobs if name in job.parameters]
            if any(value != values[0] for value in values) or len(self.jobs) == 1:
                found.append(name)
        return found

    @classmethod
    def _convert(cls, values: dict[str, Any]) -> dict[str, Any]:
        values["jobs"] = [ComparedJob.from_json(entry) for entry in values["jobs"]]
        return super()._convert(values)
