"""Sweeps: searches over fields of a job spec."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import to_thread
from fastapi import Body, Query, Request, Response
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from api.auth import ReadKey, WriteKey
from api.context import AppContext
from api.problems import (
    Conflict,
    IdempotencyMismatch,
    Malformed,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
    request_id,
)
from api.routes.jobs import IdempotencyKey
from api.routing import created, problems, router
from api.schemas.common import ULID, Limit, SweepId
from api.schemas.sweep_report import SweepReportObject
from api.schemas.sweeps import EXAMPLE, SweepDetail, SweepList, SweepObject, SweepPlanObject
from api.sweep_specs import check_sweep, plan_sweep
from jobs import database, sweeps
from jobs.sweep_spec import SweepSpec
from jobs.validation import Bounds

routes = router("sweeps")


@routes.post(
    "/sweeps",
    status_code=201,
    response_model=SweepDetail,
    responses={
        200: {"model": SweepPlanObject, "description": "Answer to a dry run: nothing was created."},
        **problems(IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType),
    },
)
async def create_sweep(
    request: Request,
    spec: Annotated[SweepSpec, Body(openapi_examples={"learning rate and bits": {"value": EXAMPLE}})],
    context: AppContext,
    key: WriteKey,
    idempotency_key: IdempotencyKey = None,
    dry_run: Annotated[
        bool, Query(description="Validate and answer with the plan (number of jobs, predicted time); create nothing.")
    ] = False,
) -> Response:
    """Create a sweep: its jobs are made one after the other, as others of the same key would be.

    The job specs at the extremes of the space are built and checked first; a wrong field is named below `base` or
    `space`.
    """
    offers = await to_thread.run_sync(context.doorbell.offers) if "device" in {*spec.base, *spec.space} else None
    bounds = Bounds.of(context.settings, key, offers)
    if dry_run:
        planned = await context.read(lambda connection: plan_sweep(connection, spec, bounds))
        return JSONResponse(planned.model_dump(mode="json"))

    def create(connection: Connection) -> tuple[int, Any]:
        check_sweep(connection, spec, bounds)
        sweep = sweeps.create(
            connection, spec, organisation=key.organisation_id, created_by=key.id, request_id=request_id(request)
        )
        return 201, SweepDetail.whole(sweep, []).model_dump(mode="json")

    answer = await context.once(
        create,
        key_id=key.id,
        route="POST /v1/sweeps",
        idempotency_key=idempotency_key,
        request=spec.model_dump_json().encode(),
    )
    return created(answer, "/v1/sweeps")


@routes.get("/sweeps", responses=problems())
async def list_sweeps(
    context: AppContext,
    key: ReadKey,
    after: Annotated[
        str | None, Query(pattern=f"^swp_{ULID}$", description="Id of the last sweep of the page before.")
    ] = None,
    limit: Limit = 20,
) -> SweepList:
    """List sweeps, newest first."""

    def read(connection: Connection) -> SweepList:
        page = sweeps.list_sweeps(connection, organisation=key.organisation_id, after=after, limit=limit)
        trials = sweeps.list_trials(connection, [sweep.id for sweep in page.data])
        return SweepList(data=[SweepObject.of(sweep, trials[sweep.id]) for sweep in page.data], has_more=page.has_more)

    return await context.read(read)


@routes.get("/sweeps/{sweep_id}", responses=problems(NotFound))
async def get_sweep(sweep_id: SweepId, context: AppContext, key: ReadKey) -> SweepDetail:
    """Get a sweep as it stands, with the table of its trials."""

    def read(connection: Connection) -> SweepDetail:
        sweep = sweeps.get(connection, sweep_id, organisation=key.organisation_id)
        return SweepDetail.whole(sweep, sweeps.list_trials(connection, [sweep_id])[sweep_id])

    return await context.read(read)


@routes.get("/sweeps/{sweep_id}/report", response_model=SweepReportObject, responses=problems(NotFound))
async def get_sweep_report(sweep_id: SweepId, context: AppContext, key: ReadKey) -> Response:
    """Get what a sweep came to as it stands: jobs that differ in nothing but the seed are one row."""

    def work() -> bytes:
        from jobs import sweep_report  # noqa: PLC0415 - imports NumPy, which the API process does without until then

        with database.snapshot(context.store.engine) as connection:
            sweep = sweeps.get(connection, sweep_id, organisation=key.organisation_id)
            return SweepReportObject.of(sweep, sweep_report.report(connection, sweep)).model_dump_json().encode()

    return Response(await context.in_thread(work), media_type="application/json")


@routes.post("/sweeps/{sweep_id}/cancel", responses=problems(NotFound, Conflict))
async def cancel_sweep(sweep_id: SweepId, context: AppContext, key: WriteKey) -> SweepDetail:
    """Cancel a sweep and those of its jobs that have not ended. Cancelling twice is no error."""

    def write(connection: Connection) -> SweepDetail:
        sweep = sweeps.request_cancel(connection, sweep_id, organisation=key.organisation_id)
        return SweepDetail.whole(sweep, sweeps.list_trials(connection, [sweep_id])[sweep_id])

    return await context.write(write)


@routes.delete("/sweeps/{sweep_id}", status_code=204, responses=problems(NotFound, Conflict))
async def delete_sweep(sweep_id: SweepId, context: AppContext, key: WriteKey) -> None:
    """Delete a sweep that has ended. Its jobs stay."""
    await context.write(lambda connection: sweeps.remove(connection, sweep_id, organisation=key.organisation_id))
