"""Data sets that a worker brings: by URL, or from a mounted folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from api.auth import ReadKey, WriteKey
from api.context import AppContext, Context
from api.problems import (
    Conflict,
    DatasetRejected,
    DownloadFailed,
    DownloadsOff,
    IdempotencyMismatch,
    Malformed,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
    UrlRefused,
)
from api.routes.jobs import IdempotencyKey
from api.routing import problems, router
from api.schemas.common import Limit
from api.schemas.datasets import DatasetObject, FolderImport, FolderList, FolderObject, UrlImport
from api.targets import target
from api.verdicts import Wait, answered, judged
from jobs import imports
from jobs.keys import Key
from jobs.records import Dataset
from jobs.settings import FOLDER_NAME
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
    wanted = _target(new.url, context)

    def insert(connection: Connection) -> Dataset:
        return imports.from_url(
            connection,
            new.url,
            wanted,
            name=new.name,
            sha256=new.sha256,
            organisation=key.organisation_id,
            created_by=key.id,
        )

    return await _bring(context, key, insert, new, "POST /v1/datasets/from-url", idempotency_key, wait)


@routes.post(
    "/datasets/from-folder",
    status_code=201,
    response_model=DatasetObject,
    responses={
        202: _PENDING,
        **problems(DatasetRejected, IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType, NotFound, Conflict),
    },
)
async def import_from_folder(
    new: FolderImport, context: AppContext, key: WriteKey, idempotency_key: IdempotencyKey = None, wait: Wait = 60
) -> Response:
    """Make a data set of a mounted folder as it is now, without a copy. A worker lists its files and looks at them.

    Jobs train on these very files: a job that finds others fails with the code `dataset_changed`. After a change, make
    a new data set of the folder.
    """
    if new.folder not in context.settings.folders:
        raise NotFound(f"There is no folder {new.folder[:40]!r}; GET /v1/dataset-folders lists those that there are.")

    def insert(connection: Connection) -> Dataset:
        return imports.from_folder(
            connection, new.folder, name=new.name, organisation=key.organisation_id, created_by=key.id
        )

    return await _bring(context, key, insert, new, "POST /v1/datasets/from-folder", idempotency_key, wait)


@routes.get("/dataset-folders", responses=problems())
async def list_dataset_folders(
    context: AppContext,
    key: ReadKey,
    after: Annotated[
        str | None, Query(pattern=f"^{FOLDER_NAME}$", description="Name of the last one of the page before.")
    ] = None,
    limit: Limit = 20,
) -> FolderList:
    """List the folders that data sets can be made of, by name."""
    names = sorted(name for name in context.settings.folders if after is None or name > after)
    made = await context.read(lambda connection: imports.newest_of_folders(connection, key.organisation_id))
    shown = [FolderObject(name=name, dataset=made.get(name)) for name in names[:limit]]
    return FolderList(data=shown, has_more=len(names) > limit)


async def _bring(
    context: Context,
    key: Key,
    insert: Callable[[Connection], Dataset],
    new: BaseModel,
    route: str,
    idempotency_key: str | None,
    wait: float,
) -> Response:
    """Insert a data set that a worker is to bring, ring for one, and wait for its verdict."""

    def create(connection: Connection) -> tuple[int, Any]:
        return 201, {"id": insert(connection).id}

    answer = await context.once(
        create, key_id=key.id, route=route, idempotency_key=idempotency_key, request=new.model_dump_json().encode()
    )
    dataset_id = str(answer.body["id"])
    if not answer.replayed:
        context.doorbell.ring_dataset(dataset_id)
    row = await judged(context, dataset_id, wait=wait, key_id=key.id, route=route, idempotency_key=idempotency_key)
    return await answered(context, row)


def _target(url: str, context: Context) -> Target:
    """Check what can be told from the URL alone.

    Raises:
        DownloadsOff: no URL is fetched from.
        UrlRefused: this one is not.
    """
    settings = context.settings
    if settings.dataset_urls == "off":
        raise DownloadsOff
    return target(url, private=settings.dataset_urls == "private", ports=settings.url_ports)
