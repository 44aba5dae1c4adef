"""A job's curves."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from sqlalchemy import Connection

from api.auth import ReadKey
from api.context import AppContext
from api.problems import NotFound
from api.routing import problems, router
from api.schemas.common import JobId
from api.schemas.metrics import MetricsObject, SeriesObject
from jobs import events, metrics
from jobs.metrics import Series

routes = router("metrics")


@routes.get("/jobs/{job_id}/metrics", responses=problems(NotFound))
async def get_metrics(
    job_id: JobId,
    context: AppContext,
    key: ReadKey,
    kind: Annotated[
        Literal["step", "epoch", "quantization", "telemetry"] | None, Query(description="Only curves of this kind.")
    ] = None,
    name: Annotated[
        list[Annotated[str, Query(max_length=400)]] | None, Query(description="Only curves of these names.")
    ] = None,
    max_points: Annotated[
        int | None,
        Query(ge=2, le=100_000, description="At most about so many points per curve, the last one always among them."),
    ] = None,
) -> MetricsObject:
    """Get a job's curves. Steps that were repeated after a crash appear once."""

    def read(connection: Connection) -> tuple[int, list[Series]]:
        last = events.last_seq(connection, job_id, organisation=key.organisation_id)
        return last, metrics.series(connection, job_id, kind=kind, names=name, points=max_points)

    last, curves = await context.read(read)
    return MetricsObject(job=job_id, last_seq=last, data=[SeriesObject.of(series) for series in curves])
