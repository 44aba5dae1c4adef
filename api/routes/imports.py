"""Data sets that a worker brings: by URL."""

from __future__ import annotations

from typing import Any

from anyio import to_thread
from fastapi import Response
from sqlalchemy import Connection

from api.auth import WriteKey
from api.context import AppContext, Context
from api.problems import (
    Conflict,
    DatasetRejected,
    DownloadFailed,
    DownloadsOff,
    FieldError,
    IdempotencyMismatch,
    Malformed,
    TooLarge,
    UnsupportedMediaType,
    UrlRefused,
)
from api.routes.jobs import IdempotencyKey
from api.routing import problems, router
from api.schemas.datasets import DatasetObject, UrlImport
from api.verdicts import Wait, answered, judged
from jobs import idempotency, imports, urls
from jobs.errors import UrlRefusedError
from jobs.urls import Target

routes = router("datasets")

_PENDING = {"model": DatasetObject, "description": "Accepted; no worker has brought it yet. Poll its `state`."}


@routes.post(
    "/datasets/from-url",
    status_code=201,
    response_model=DatasetObject,
    responses={
        202: _PENDING,
        **problems(
            DownloadsOff,
            UrlRefused,
            DownloadFailed,
            DatasetRejected,
            IdempotencyMismatch,
            Malformed,
            TooLarge,
            UnsupportedMediaType,
            Conflict,
        ),
    },
)
async def import_from_url(
    new: UrlImport, context: AppContext, key: WriteKey, idempotency_key: IdempotencyKey = None, wait: Wait = 60
) -> Response:
    """Have a worker download a data set, and look through it as through an upload.

    Off unless whoever runs the service has allowed it. Public addresses only, unless private networks are allowed too;
    no redirects, no user names, no ports but the allowed ones. The answer is as of an upload.
    """
    target = _target(new.url, context)

    def create(connection: Connection) -> tuple[int, Any]:
        row = imports.from_url(
            connection,
            new.url,
            target,
            name=new.name,
            sha256=new.sha256,
            organisation=key.organisation_id,
            created_by=key.id,
        )
        return 201, {"id": row.id}

    route, request = "POST /v1/datasets/from-url", new.model_dump_json().encode()

    def once() -> idempotency.Answer:
        return idempotency.once(
            context.store, create, key_id=key.id, route=route, idempotency_key=idempotency_key, request=request
        )

    answer = await to_thread.run_sync(once, limiter=context.database_threads)
    dataset_id = str(answer.body["id"])
    if not answer.replayed:
        context.doorbell.ring_dataset(dataset_id)
    row = await judged(context, dataset_id, wait=wait, key_id=key.id, route=route, idempotency_key=idempotency_key)
    return await answered(context, row)


def _target(url: str, context: Context) -> Target:
    """Check what can be told from the URL alone. What its name means is asked by the worker that connects, once.

    Raises:
        DownloadsOff: no URL is fetched from.
        UrlRefused: this one is not.
    """
    if context.settings.dataset_urls == "off":
        raise DownloadsOff
    private = context.settings.dataset_urls == "private"
    try:
        return urls.parse(url, private=private, ports=context.settings.url_ports)
    except UrlRefusedError as error:
        raise UrlRefused(errors=[FieldError(field="url", message=str(error))]) from None
