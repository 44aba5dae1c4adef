"""A job's curves on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from api.schemas.common import Schema

if TYPE_CHECKING:  # it imports NumPy, which the API process does without until someone asks for curves
    from jobs.curves import Curve


class SeriesObject(Schema):
    """One curve: ``values[i]`` after ``steps[i]`` optimiser steps."""

    object: Literal["series"] = "series"
    kind: str = Field(description="step, epoch, quantization or telemetry: how often it is reported.")
    name: str = Field(description="For example `loss`; of a figure per layer (quantization, telemetry) `layer/figure`.")
    steps: list[int]
    values: list[float | None] = Field(description="null where a value was not finite.")

    @classmethod
    def of(cls, curve: Curve, points: int | None = None) -> SeriesObject:
        """Show a curve of the store, of at most about so many points, evenly chosen; the last one is among them."""
        stride = 1 if points is None else max(1, -(-len(curve.steps) // points))
        steps, values = (column[::-1][::stride][::-1].tolist() for column in (curve.steps, curve.values))
        # NaN is written as null; looking at each of so many numbers here would take a second.
        return cls.model_construct(None, kind=curve.kind, name=curve.name, steps=steps, values=values)


class MetricsObject(Schema):
    """The curves of a job."""

    object: Literal["metrics"] = "metrics"
    job: str = Field(description="Id of the job.")
    last_seq: int = Field(
        description="All events up to this one are in the curves: a stream with this `Last-Event-ID` goes on from here."
    )
    data: list[SeriesObject]
