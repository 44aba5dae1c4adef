"""A job's curves on the wire."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from api.schemas.common import Schema
from jobs.metrics import Series


class SeriesObject(Schema):
    """One curve: ``values[i]`` after ``steps[i]`` optimiser steps."""

    object: Literal["series"] = "series"
    kind: str = Field(description="step, epoch, quantization or telemetry: how often it is reported.")
    name: str = Field(description="For example `loss`; of a figure per layer (quantization, telemetry) `layer/figure`.")
    steps: list[int]
    values: list[float | None] = Field(description="null where a value was not finite.")

    @classmethod
    def of(cls, series: Series) -> Self:
        """Show a curve of the store."""
        return cls(kind=series.kind, name=series.name, steps=series.steps, values=series.values)


class MetricsObject(Schema):
    """The curves of a job."""

    object: Literal["metrics"] = "metrics"
    job: str = Field(description="Id of the job.")
    last_seq: int = Field(
        description="All events up to this one are in the curves: a stream with this `Last-Event-ID` goes on from here."
    )
    data: list[SeriesObject]
