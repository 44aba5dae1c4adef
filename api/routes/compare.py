"""Jobs side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response

from api.auth import ReadKey
from api.context import AppContext, Context
from api.problems import FieldError, Invalid, Malformed, NotFound, TargetTooLong, TooLarge, UnsupportedMediaType
from api.routing import problems, router
from api.schemas.compare import (
    ALIGN,
    EQUAL,
    EXAMPLE,
    JOBS,
    KINDS,
    METRICS,
    MOST_JOBS,
    MOST_KINDS,
    MOST_METRICS,
    MOST_POINTS,
    POINTS,
    SWEEP,
    Alignment,
    CompareRequest,
    ComparisonObject,
    JobReference,
    MetricKind,
    MetricName,
    SweepReference,
)
from jobs import database, sweeps

routes = router("compare")
_OK: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": EXAMPLE}}}}


@routes.get("/compare", response_model=ComparisonObject, responses=_OK | problems(NotFound, TargetTooLong))
async def compare_jobs(
    context: AppContext,
    key: ReadKey,
    job: Annotated[list[JobReference] | None, Query(min_length=1, max_length=MOST_JOBS, description=JOBS)] = None,
    sweep: Annotated[SweepReference | None, Query(description=SWEEP)] = None,
    metric: Annotated[list[MetricName] | None, Query(max_length=MOST_METRICS, description=METRICS)] = None,
    kind: Annotated[list[MetricKind] | None, Query(max_length=MOST_KINDS, description=KINDS)] = None,
    align: Annotated[Alignment, Query(description=ALIGN)] = "step",
    points: Annotated[int, Query(ge=0, le=MOST_POINTS, description=POINTS)] = 100,
    equal: Annotated[bool, Query(description=EQUAL)] = False,
) -> Response:
    """Compare jobs: the parameters that differ, least, greatest and last value of each metric, results and curves."""
    asked = CompareRequest(jobs=job, sweep=sweep, metrics=metric, kinds=kind, align=align, points=points, equal=equal)
    return await _answer(context, asked, key.organisation_id, jobs="job")


@routes.post(
    "/compare",
    response_model=ComparisonObject,
    responses=_OK | problems(NotFound, Malformed, TooLarge, UnsupportedMediaType),
)
async def compare_many_jobs(asked: CompareRequest, context: AppContext, key: ReadKey) -> Response:
    """Compare jobs, as `GET /v1/compare` does, by a body: for more of them than fit into a URL. Changes nothing."""
    return await _answer(context, asked, key.organisation_id, jobs="jobs")


async def _answer(context: Context, asked: CompareRequest, organisation: str, *, jobs: str) -> Response:
    """Compare; ``jobs`` is how the jobs to compare are called where they were to be named."""
    if asked.jobs is None and asked.sweep is None:
        raise Invalid(errors=[FieldError(field=jobs, message="name the jobs to compare, or a sweep")])

    def work() -> bytes:
        from jobs import compare  # noqa: PLC0415 - imports NumPy, which the API process does without until then

        with database.snapshot(context.store.engine) as connection:
            wanted = list(asked.jobs or ())
            if asked.sweep is not None:
                wanted += sweeps.job_ids(connection, asked.sweep, organisation=organisation)
            found = compare.compare(
                connection,
                wanted,
                organisation=organisation,
                kinds=asked.kinds or compare.DEFAULT_KINDS,
                names=asked.metrics,
                axis=asked.align,
                points=asked.points,
            )
        shown = ComparisonObject.of(found, align=asked.align, equal=asked.equal, curves=asked.points > 0)
        return shown.model_dump_json().encode()  # at once: going through Python objects doubles the time

    body = await context.in_thread(work)
    return Response(body, media_type="application/json")
