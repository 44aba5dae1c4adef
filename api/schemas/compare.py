"""Jobs side by side, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import ULID, Schema
from jobs.metrics import LONGEST_NAME
from jobs.states import JobState

if TYPE_CHECKING:  # it imports NumPy, which the API process does without until someone compares
    from jobs.compare import Compared, Comparison, Figure, Point

MOST_JOBS = 1000
MOST_KINDS = 5
MOST_METRICS = 1000
MOST_POINTS = 10_000

JobReference = Annotated[str, Field(pattern=f"^job_{ULID}$")]
SweepReference = Annotated[str, Field(pattern=f"^swp_{ULID}$")]
MetricName = Annotated[str, Field(max_length=LONGEST_NAME)]
MetricKind = Literal["step", "epoch", "full_precision", "quantization", "telemetry", "search"]
Alignment = Literal["step", "epoch", "time"]

JOBS = "Ids of the jobs to compare, in the order of the answer."
SWEEP = "Id of a sweep: its jobs are compared, after those that are named."
METRICS = "Only metrics of these names, e.g. `loss`; of a figure per layer `layer/figure`. Default: all."
KINDS = "Only metrics that are reported so often. Default: per step and per epoch."
ALIGN = (
    "What curves are put on: optimiser steps; epochs done; or seconds that the job had been running, all attempts "
    "together, without waiting and pauses."
)
POINTS = (
    "At most so many points per curve (four are the least): of each of a quarter as many buckets the first, the last, "
    "a least and a greatest one (M4). 0: no curves."
)
EQUAL = "Also list the parameters that all jobs have with the same value."


class CompareRequest(BaseModel):
    """What to compare: the parameters of `GET /v1/compare` as a body, for more jobs than fit into a URL."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"jobs": ["job_01JD0000000000000000000001", "job_01JD0000000000000000000002"]}],
            "anyOf": [
                {"required": ["jobs"], "properties": {"jobs": {"type": "array"}}},
                {"required": ["sweep"], "properties": {"sweep": {"type": "string"}}},
            ],
        },
    )

    jobs: list[JobReference] | None = Field(default=None, min_length=1, max_length=MOST_JOBS, description=JOBS)
    sweep: SweepReference | None = Field(default=None, description=SWEEP)
    metrics: list[MetricName] | None = Field(default=None, max_length=MOST_METRICS, description=METRICS)
    kinds: list[MetricKind] | None = Field(default=None, max_length=MOST_KINDS, description=KINDS)
    align: Alignment = Field(default="step", description=ALIGN)
    points: int = Field(default=100, ge=0, le=MOST_POINTS, description=POINTS)
    equal: bool = Field(default=False, description=EQUAL)


class PointObject(Schema):
    """One value of a metric."""

    value: float | None = Field(description="null if it was not finite.")
    step: int = Field(description="Optimiser steps after which it was reported.")

    @classmethod
    def of(cls, point: Point) -> Self:
        """Show a point of the domain."""
        return cls(value=point.value, step=point.step)


class CurveObject(Schema):
    """A curve: ``values[i]`` at ``x[i]`` of the axis that was asked for."""

    x: list[float]
    values: list[float | None] = Field(description="null where a value was not finite.")


class ComparedMetric(Schema):
    """What a metric came to in one job. Steps that were repeated after a crash count once."""

    kind: MetricKind
    name: str
    points: int = Field(description="Values that were reported.")
    min: PointObject | None = Field(description="The first of the least value; null if no value was finite.")
    max: PointObject | None = Field(description="The first of the greatest value; null if no value was finite.")
    last: PointObject
    curve: CurveObject | None = Field(description="null with `points=0`.")

    @classmethod
    def of(cls, figure: Figure, *, curve: bool) -> Self:
        """Show a figure of the domain."""
        return cls(
            kind=figure.kind,
            name=figure.name,
            points=figure.points,
            min=None if figure.least is None else PointObject.of(figure.least),
            max=None if figure.greatest is None else PointObject.of(figure.greatest),
            last=PointObject.of(figure.last),
            # NaN is written as null; looking at each of a million numbers to say so here would take a second.
            curve=CurveObject.model_construct(None, x=figure.places, values=[*figure.values]) if curve else None,
        )


class ComparedJob(Schema):
    """A job beside the others."""

    id: str
    name: str | None
    state: JobState
    parameters: dict[str, Any] = Field(
        description="Those of its parameters that differ among the jobs, by dotted name; one that it does not have "
        "(options of another method) is left out."
    )
    result: dict[str, Any] = Field(description="Plain figures of its result; empty until it has succeeded.")
    metrics: list[ComparedMetric]
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Compared, *, curves: bool) -> Self:
        """Show a job of the domain."""
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            parameters=job.parameters,
            result=job.result,
            metrics=[ComparedMetric.of(figure, curve=curves) for figure in job.figures],
            created_at=job.created_at,
            finished_at=job.finished_at,
        )


class ComparisonObject(Schema):
    """Jobs side by side."""

    object: Literal["comparison"] = "comparison"
    align: Alignment = Field(description="What the curves are put on.")
    differing: list[str] = Field(description="Dotted names of the parameters that are not the same in all jobs.")
    equal: dict[str, Any] | None = Field(description="The other parameters, if they were asked for.")
    jobs: list[ComparedJob]

    @classmethod
    def of(cls, found: Comparison, *, align: Alignment, equal: bool, curves: bool) -> Self:
        """Show a comparison of the domain."""
        return cls(
            align=align,
            differing=found.differing,
            equal=found.equal if equal else None,
            jobs=[ComparedJob.of(job, curves=curves) for job in found.jobs],
        )


EXAMPLE: dict[str, Any] = {
    "object": "comparison",
    "align": "step",
    "differing": ["training.learning_rate"],
    "equal": None,
    "jobs": [
        {
            "id": "job_01JD0000000000000000000001",
            "name": "slow",
            "state": "succeeded",
            "parameters": {"training.learning_rate": 0.001},
            "result": {"validation_accuracy": 0.91, "best_epoch": 9, "seconds": 41.2},
            "metrics": [
                {
                    "kind": "step",
                    "name": "loss",
                    "points": 3,
                    "min": {"value": 0.4, "step": 3},
                    "max": {"value": 1.6, "step": 1},
                    "last": {"value": 0.4, "step": 3},
                    "curve": {"x": [1, 2, 3], "values": [1.6, 0.8, 0.4]},
                }
            ],
            "created_at": "2026-01-02T03:04:05Z",
            "finished_at": "2026-01-02T03:05:05Z",
        }
    ],
}
