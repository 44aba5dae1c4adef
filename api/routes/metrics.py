"""A job's curves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from api.auth import ReadKey
from api.context import AppContext
from api.problems import NotFound, TargetTooLong
from api.routing import problems, router
from api.schemas.common import JobId
from api.schemas.compare import MOST_METRICS, MetricKind, MetricName
from api.schemas.metrics import MetricsObject, SeriesObject
from jobs import database, events
from jobs.metrics import KINDS

routes = router("metrics")


@routes.get("/jobs/{job_id}/metrics", response_model=MetricsObject, responses=problems(NotFound, TargetTooLong))
async def get_metrics(
    job_id: JobId,
    context: AppContext,
    key: ReadKey,
    kind: Annotated[MetricKind | None, Query(description="Only curves of this kind.")] = None,
    name: Annotated[
        list[MetricName] | None, Query(max_length=MOST_METRICS, description="Only curves of these names.")
    ] = None,
    max_points: Annotated[
        int | None,
        Query(ge=2, le=100_000, description="At most about so many points per curve, the last one always among them."),
    ] = None,
) -> Response:
    """Get a job's curves. Steps that were repeated after a crash appear once."""

    def work() -> bytes:
        from jobs import curves  # noqa: PLC0415 - imports NumPy, which the API process does without until then

        with database.snapshot(context.store.engine) as connection:
            last = events.last_seq(connection, job_id, organisation=key.organisation_id)
            found = curves.read(connection, [job_id], [kind] if kind else KINDS, names=name)[job_id]
        shown = [SeriesObject.of(curve, max_points) for curve in found]
        return MetricsObject(job=job_id, last_seq=last, data=shown).model_dump_json().encode()

    return Response(await context.in_thread(work), media_type="application/json")
