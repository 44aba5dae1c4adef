"""The part of OpenAI's API that its stock client needs to drive this service: files and fine-tuning jobs.

Each operation is one of ours in other words, and calls it; scopes, limits and checks are the same.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from sqlalchemy import Connection
from starlette.responses import JSONResponse

from api.auth import ReadKey, WriteKey
from api.context import AppContext, Context
from api.openai.errors import PREFIX
from api.openai.objects import (
    DeletedFile,
    File,
    FilePage,
    FineTuningCheckpoint,
    FineTuningCheckpointPage,
    FineTuningEvent,
    FineTuningEventPage,
    FineTuningJob,
    FineTuningJobPage,
    Model,
    ModelPage,
)
from api.openai.requests import NewFineTuningJob
from api.problems import (
    Conflict,
    DatasetInUse,
    DatasetRejected,
    FieldError,
    IdempotencyMismatch,
    Invalid,
    Malformed,
    NotFound,
    QuotaExceeded,
    TooLarge,
    UnsupportedMediaType,
)
from api.routes import artifacts as artifact_routes
from api.routes import datasets as dataset_routes
from api.routes import jobs as job_routes
from api.routes.jobs import IdempotencyKey
from api.routing import openai_problems as problems
from api.routing import router
from api.schemas.common import ULID, DatasetId, JobId
from api.schemas.datasets import DatasetObject
from api.schemas.jobs import JobObject
from api.uploads import Upload
from fqt_core.config import ARCHITECTURES
from jobs import events
from jobs import jobs as job_store
from jobs.errors import NotFoundError
from jobs.records import JobEvent

routes = router("openai", prefix=PREFIX)

_PURPOSE = "fine-tune"
_MOST = 100  # OpenAI's clients may ask for more; they turn pages by themselves
_WAIT_SECONDS = 60.0
_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "A data set, as for `POST /v1/datasets`."},
        "purpose": {"type": "string", "enum": ["", _PURPOSE], "description": "There is one only; empty: that."},
    },
}
FileLimit = Annotated[int, Query(ge=1, le=10_000, description="Entries on one page; at most 100 are given.")]
ListLimit = Annotated[int, Query(ge=1, le=1000, description="Entries on one page; at most 100 are given.")]
AfterFile = Annotated[str | None, Query(pattern=f"^ds_{ULID}$", description="Id of the last file of the page before.")]
AfterJob = Annotated[str | None, Query(pattern=f"^job_{ULID}$", description="Id of the last job of the page before.")]
AfterEvent = Annotated[
    str | None,
    Query(pattern=rf"^job_{ULID}\.[0-9]{{1,15}}$", description="Id of the last event of the page before."),
]
AfterCheckpoint = Annotated[
    str | None, Query(pattern=f"^ckpt_{ULID}$", description="Id of the last checkpoint of the page before.")
]


@routes.get("/models", responses=problems())
async def openai_list_models(_key: ReadKey) -> ModelPage:
    """List the networks that can be trained."""
    return ModelPage.of([Model(id=name) for name in ARCHITECTURES], has_more=False)


@routes.post(
    "/files",
    responses=problems(DatasetRejected, IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType, Conflict),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def openai_upload_file(
    request: Request, context: AppContext, key: WriteKey, idempotency_key: IdempotencyKey = None
) -> File:
    """Upload a data set. A worker looks through it first; what it finds wrong is the answer (422)."""

    def examine(upload: Upload) -> None:
        if upload.fields.get("purpose", "") not in {"", _PURPOSE}:
            raise Invalid(errors=[FieldError(field="purpose", message="not for this service", allowed=[_PURPOSE])])

    row = await dataset_routes.accept(
        request, context, key, idempotency_key, _WAIT_SECONDS, fields=("purpose",), examine=examine
    )
    return File.of(DatasetObject.of(row))


@routes.get("/files", responses=problems())
async def openai_list_files(
    context: AppContext,
    key: ReadKey,
    purpose: Annotated[str | None, Query(max_length=40, description="Files of other purposes there are none.")] = None,
    order: Annotated[Literal["desc"], Query(description="Newest first.")] = "desc",  # noqa: ARG001 - the only order
    after: AfterFile = None,
    limit: FileLimit = _MOST,
) -> FilePage:
    """List uploaded data sets, newest first."""
    if purpose not in {None, _PURPOSE}:
        return FilePage.of([], has_more=False)
    page = await dataset_routes.list_datasets(context, key, after, min(limit, _MOST))
    uploaded = [File.of(row) for row in page.data if not row.builtin]
    return FilePage.of(uploaded, has_more=page.has_more and len(uploaded) == len(page.data))


@routes.get("/files/{dataset_id}", responses=problems(NotFound))
async def openai_get_file(dataset_id: DatasetId, context: AppContext, key: ReadKey) -> File:
    """Get a data set."""
    return File.of(await dataset_routes.get_dataset(dataset_id, context, key))


@routes.delete("/files/{dataset_id}", responses=problems(NotFound, Conflict, DatasetInUse))
async def openai_delete_file(dataset_id: DatasetId, context: AppContext, key: WriteKey) -> DeletedFile:
    """Delete an uploaded data set."""
    await dataset_routes.delete_dataset(dataset_id, context, key)
    return DeletedFile(id=dataset_id)


@routes.post(
    "/fine_tuning/jobs",
    response_model=FineTuningJob,
    responses=problems(QuotaExceeded, IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType),
)
async def openai_create_job(
    request: Request,
    new: NewFineTuningJob,
    context: AppContext,
    key: WriteKey,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a job. `model` names an architecture; our options go into `method`, `hyperparameters` and `extra_body`."""
    network = await _network(context, new.parent, key.organisation_id) if new.parent is not None else None
    made = await job_routes.submit(request, new.spec(network), context, key, idempotency_key, labels=new.metadata)
    job = FineTuningJob.of(JobObject.model_validate(json.loads(bytes(made.body))), key.organisation_id)
    kept = {name: made.headers[name] for name in ("Idempotent-Replayed",) if name in made.headers}
    return JSONResponse(job.model_dump(mode="json"), headers=kept)


@routes.get("/fine_tuning/jobs", responses=problems())
async def openai_list_jobs(
    context: AppContext, key: ReadKey, after: AfterJob = None, limit: ListLimit = 20
) -> FineTuningJobPage:
    """List jobs, newest first."""
    page = await job_routes.list_jobs(context, key, None, after, min(limit, _MOST))
    jobs = [FineTuningJob.of(job, key.organisation_id) for job in page.data]
    return FineTuningJobPage.of(jobs, has_more=page.has_more)


@routes.get("/fine_tuning/jobs/{job_id}", responses=problems(NotFound))
async def openai_get_job(job_id: JobId, context: AppContext, key: ReadKey) -> FineTuningJob:
    """Get a job as it stands."""
    return FineTuningJob.of(await _job(context, job_id, key.organisation_id), key.organisation_id)


@routes.post("/fine_tuning/jobs/{job_id}/cancel", responses=problems(NotFound, Conflict))
async def openai_cancel_job(job_id: JobId, context: AppContext, key: WriteKey) -> FineTuningJob:
    """Cancel a job."""
    return FineTuningJob.of(await job_routes.cancel_job(job_id, context, key), key.organisation_id)


@routes.post("/fine_tuning/jobs/{job_id}/pause", responses=problems(NotFound, Conflict))
async def openai_pause_job(job_id: JobId, context: AppContext, key: WriteKey) -> FineTuningJob:
    """Pause a job."""
    return FineTuningJob.of(await job_routes.pause_job(job_id, context, key), key.organisation_id)


@routes.post("/fine_tuning/jobs/{job_id}/resume", responses=problems(NotFound, Conflict))
async def openai_resume_job(job_id: JobId, context: AppContext, key: WriteKey) -> FineTuningJob:
    """Resume a paused job."""
    return FineTuningJob.of(await job_routes.resume_job(job_id, context, key), key.organisation_id)


@routes.get("/fine_tuning/jobs/{job_id}/events", responses=problems(NotFound))
async def openai_list_events(
    job_id: JobId, context: AppContext, key: ReadKey, after: AfterEvent = None, limit: ListLimit = 20
) -> FineTuningEventPage:
    """List a job's events, newest first, as OpenAI does."""
    before = int(after.rpartition(".")[2]) if after is not None else None
    if after is not None and not after.startswith(job_id + "."):
        raise NotFound("The event that `after` names is none of this job.")
    count = min(limit, _MOST)

    def read(connection: Connection) -> list[JobEvent]:
        job_store.get(connection, job_id, organisation=key.organisation_id)
        return events.read_back(connection, job_id, before=before, limit=count + 1)

    found = await context.read(read)
    data = [FineTuningEvent.of(event) for event in found[:count]]
    return FineTuningEventPage.of(data, has_more=len(found) > count)


@routes.get("/fine_tuning/jobs/{job_id}/checkpoints", responses=problems(NotFound))
async def openai_list_checkpoints(
    job_id: JobId, context: AppContext, key: ReadKey, after: AfterCheckpoint = None, limit: ListLimit = 10
) -> FineTuningCheckpointPage:
    """List the checkpoints that are kept of a job, newest first."""
    kept = (await artifact_routes.list_checkpoints(job_id, context, key)).data
    ids = [row.id for row in kept]
    begin = ids.index(after) + 1 if after in ids else 0
    page = kept[begin : begin + min(limit, _MOST)]
    data = [FineTuningCheckpoint.of(job_id, row) for row in page]
    return FineTuningCheckpointPage.of(data, has_more=begin + len(page) < len(kept))


async def _network(context: Context, job_id: str, organisation: str) -> dict[str, Any] | None:
    """The network of a job to go on from; ``None`` if there is none, which the spec's check tells."""
    try:
        network = (await _job(context, job_id, organisation)).spec.architecture
    except NotFoundError:
        return None
    return None if network is None else network.model_dump(mode="json")


async def _job(context: Context, job_id: str, organisation: str) -> JobObject:
    job = await context.read(lambda connection: job_store.get(connection, job_id, organisation=organisation))
    return JobObject.of(job)
