"""Jobs: create, look at, pause, cancel, delete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Body, Header, Query, Request, Response
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from api.auth import ReadKey, WriteKey
from api.context import AppContext, Context
from api.problems import (
    Conflict,
    IdempotencyMismatch,
    Malformed,
    NotFound,
    QuotaExceeded,
    TooLarge,
    UnsupportedMediaType,
    request_id,
)
from api.routing import conditional, created, problems, router
from api.schemas.common import ULID, JobId, Limit
from api.schemas.jobs import JobList, JobObject
from api.schemas.plan import PlanObject
from api.specs import read_spec
from api.tracing import traceparent
from jobs import jobs, plan
from jobs.keys import Key
from jobs.offers import Offer, shortcomings
from jobs.records import Job
from jobs.states import JobState
from jobs.validation import Bounds

routes = router("jobs")

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A new random string for each new request. A repetition with the same key and body gets the first "
        "answer again and creates nothing.",
    ),
]
_EXAMPLE = {
    "name": "digits 5-9, fine-tuned at one bit",
    "dataset": "digits",
    "classes": ["5", "6", "7", "8", "9"],
    "architecture": {"name": "resnet18", "width": 0.25, "image_size": 16, "channels": 1},
    "method": {"name": "fqt", "bits": 4, "pruning": "systematic"},
    "training": {"epochs": 10, "batch_size": 64, "learning_rate": 0.001, "seed": 7},
}


@routes.post(
    "/jobs",
    status_code=201,
    response_model=JobObject,
    responses={
        200: {"model": PlanObject, "description": "Answer to a dry run: nothing was created."},
        **problems(QuotaExceeded, IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/JobSpec"},
                    "examples": {"fine-tuning": {"value": _EXAMPLE}},
                }
            },
        }
    },
)
async def create_job(
    request: Request,
    body: Annotated[Any, Body()],
    context: AppContext,
    key: WriteKey,
    idempotency_key: IdempotencyKey = None,
    dry_run: Annotated[
        bool, Query(description="Validate and answer with the plan (steps, memory, predicted time); create nothing.")
    ] = False,
) -> Response:
    """Create a job: it is queued, and a worker takes it as soon as one is free.

    A wrong spec is answered with every wrong field at once. An accepted job is never lost.
    """
    return await submit(request, body, context, key, idempotency_key, dry_run=dry_run)


async def submit(
    request: Request,
    body: Any,
    context: Context,
    key: Key,
    idempotency_key: str | None,
    *,
    dry_run: bool = False,
    labels: Mapping[str, str] | None = None,
) -> Response:
    """Create a job from a body that was not looked at yet; see :func:`create_job`."""
    # A job that any worker may take is not delayed by the question who is there.
    picky = isinstance(body, dict) and (body.get("device", "auto") != "auto" or body.get("queue") is not None)
    offers = await to_thread.run_sync(context.doorbell.offers) if dry_run or picky else None
    bounds = Bounds.of(context.settings, key, offers)
    if dry_run:
        planned = await context.read(lambda connection: _plan(connection, body, offers, bounds))
        return JSONResponse(planned.model_dump(mode="json"))

    made: list[Job] = []
    trace = traceparent()

    def create(connection: Connection) -> tuple[int, Any]:
        spec, sources = read_spec(connection, body, bounds)
        job = jobs.create(
            connection,
            spec,
            created_by=key.id,
            request_id=request_id(request),
            traceparent=trace,
            labels=labels,
            warnings=shortcomings(spec, 0, offers),
            bounds=bounds,
            sources=sources,
        )
        made[:] = [job]
        return 201, JobObject.of(job).model_dump(mode="json")

    answer = await context.once(
        create,
        key_id=key.id,
        route="POST /v1/jobs",
        idempotency_key=idempotency_key,
        request=json.dumps([body, labels] if labels else body, sort_keys=True).encode(),
    )
    if not answer.replayed:  # after the commit; should it get lost, the reaper rings again
        context.doorbell.ring_job(made[0].id, made[0].queue)
    return created(answer, "/v1/jobs")


def _plan(connection: Connection, body: Any, offers: list[Offer] | None, bounds: Bounds) -> PlanObject:
    spec, _ = read_spec(connection, body, bounds)
    return PlanObject.of(spec, plan.plan(connection, spec, offers, bounds))


@routes.get("/jobs", responses=problems())
async def list_jobs(
    context: AppContext,
    key: ReadKey,
    state: Annotated[
        list[JobState] | None, Query(max_length=len(JobState), description="Only jobs in one of these states.")
    ] = None,
    after: Annotated[
        str | None, Query(pattern=f"^job_{ULID}$", description="Id of the last job of the page before.")
    ] = None,
    limit: Limit = 20,
) -> JobList:
    """List jobs, newest first."""
    mine = key.organisation_id
    page = await context.read(
        lambda connection: jobs.list_jobs(connection, after=after, limit=limit, states=state, organisation=mine)
    )
    return JobList(data=[JobObject.of(job) for job in page.data], has_more=page.has_more)


@routes.get(
    "/jobs/{job_id}",
    response_model=JobObject,
    responses={304: {"description": "Unchanged since the ETag that was sent."}, **problems(NotFound)},
)
async def get_job(
    request: Request,
    job_id: JobId,
    context: AppContext,
    key: ReadKey,
    if_none_match: Annotated[  # noqa: ARG001 - read by conditional(); named here for the document
        str | None, Header(description="ETag of an earlier answer; 304 if nothing changed since.")
    ] = None,
) -> Response:
    """Get a job as it stands, with its progress."""
    mine = key.organisation_id
    job = await context.read(lambda connection: jobs.get(connection, job_id, organisation=mine))
    return conditional(request, JobObject.of(job))


@routes.post("/jobs/{job_id}/cancel", responses=problems(NotFound, Conflict))
async def cancel_job(job_id: JobId, context: AppContext, key: WriteKey) -> JobObject:
    """Cancel a job: at once if it waits, at its next step if it runs. Cancelling twice is no error."""
    mine = key.organisation_id
    job = await context.write(lambda connection: jobs.request_cancel(connection, job_id, organisation=mine))
    return JobObject.of(job)


@routes.post("/jobs/{job_id}/pause", responses=problems(NotFound, Conflict))
async def pause_job(job_id: JobId, context: AppContext, key: WriteKey) -> JobObject:
    """Pause a job: at once if it waits; if it runs, as soon as it has written a checkpoint. Pausing twice is no error.

    A paused job keeps its checkpoint and holds no worker. What it reaches in the end is the same as without the pause.
    """
    mine = key.organisation_id
    job = await context.write(lambda connection: jobs.request_pause(connection, job_id, organisation=mine))
    return JobObject.of(job)


@routes.post("/jobs/{job_id}/resume", responses=problems(NotFound, Conflict))
async def resume_job(job_id: JobId, context: AppContext, key: WriteKey) -> JobObject:
    """Put a paused job back into the queue: it goes on from its checkpoint. Resuming one that runs is no error."""
    mine = key.organisation_id
    job = await context.write(lambda connection: jobs.resume(connection, job_id, organisation=mine))
    if job.state is JobState.QUEUED:
        context.doorbell.ring_job(job.id, job.queue)
    return JobObject.of(job)


@routes.delete("/jobs/{job_id}", status_code=204, responses=problems(NotFound, Conflict))
async def delete_job(job_id: JobId, context: AppContext, key: WriteKey) -> None:
    """Delete a job that has ended, with its log and its files."""
    mine = key.organisation_id
    digests = await context.write(lambda connection: jobs.remove(connection, job_id, organisation=mine))
    await context.collect(digests)
