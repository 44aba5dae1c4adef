"""Data sets: upload, list, look at, delete."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from itertools import islice
from pathlib import PurePath
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Header, Query, Request, Response
from sqlalchemy import Connection
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.responses import FileResponse

from api.auth import ReadKey, WriteKey
from api.context import AppContext, Context
from api.files import PICTURE_ANSWERS, serve_picture
from api.problems import (
    Conflict,
    DatasetInUse,
    DatasetRejected,
    FieldError,
    IdempotencyMismatch,
    Invalid,
    Malformed,
    NotFound,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from api.routes.jobs import IdempotencyKey
from api.routing import problems, router
from api.schemas.common import ULID, DatasetId, Limit
from api.schemas.datasets import DatasetList, DatasetObject
from api.uploads import Upload, discard, receive
from api.verdicts import Wait, answered, as_shown, judged
from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.files import file_sha256
from jobs import datasets
from jobs.errors import BlobMissingError
from jobs.imports import LONGEST_NAME
from jobs.keys import Key
from jobs.records import Dataset


class _DatasetConvertor(StringConvertor):
    """Of paths: an id, and not the name of an operation beside the data sets."""

    regex = "(?!from-(?:url|folder)$)[^/]+"


register_url_convertor("dataset", _DatasetConvertor())
routes = router("datasets")

_ROUTE = "POST /v1/datasets"
_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "zip, tar or tar.gz of one folder of images per class (PNG, JPEG, WebP, BMP); IDX files "
            "(MNIST names); NPZ with `images` and `labels`; or a table: CSV with a line of column names, or Parquet.",
        },
        "name": {"type": "string", "maxLength": LONGEST_NAME, "description": "A name for people."},
    },
}


@routes.post(
    "/datasets",
    status_code=201,
    response_model=DatasetObject,
    responses={
        202: {"model": DatasetObject, "description": "Stored; no worker has looked at it yet. Poll its `state`."},
        **problems(DatasetRejected, IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType, Conflict),
    },
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def upload_dataset(
    request: Request,
    context: AppContext,
    key: WriteKey,
    idempotency_key: IdempotencyKey = None,
    wait: Wait = 60,
) -> Response:
    """Upload a data set: its bytes are stored as they come, then a worker looks at every image.

    The answer is the data set when it is ready (201), every fault that was found when it cannot be used (422;
    nothing is kept of it), or the data set in the state `checking` when no worker answered in time (202).
    """
    row = await accept(request, context, key, idempotency_key, wait)
    return await answered(context, row)


async def accept(
    request: Request,
    context: Context,
    key: Key,
    idempotency_key: str | None,
    wait: float,
    *,
    fields: Collection[str] = ("name",),
    examine: Callable[[Upload], None] = lambda _upload: None,
) -> Dataset:
    """Store an upload and have a worker look at it; return the data set as it is after at most ``wait`` seconds.

    ``fields`` are the short fields that the form may have; ``examine`` raises what is wrong with them.

    Raises:
        DatasetRejected: it cannot be used; nothing is kept of it.
    """
    upload = await receive(request, context, fields)
    made: list[Dataset] = []
    try:
        examine(upload)
        name = _name(upload)

        def create(connection: Connection) -> tuple[int, Any]:
            row = datasets.create(
                connection,
                context.store.blobs,
                upload.blob,
                name=name,
                filename=upload.filename,
                created_by=key.id,
                organisation=key.organisation_id,
            )
            made[:] = [row]
            return 201, {"id": row.id}

        answer = await context.once(
            create,
            key_id=key.id,
            route=_ROUTE,
            idempotency_key=idempotency_key,
            request=f"{upload.blob.sha256} {name!r}".encode(),
        )
    except BlobMissingError:
        raise Unavailable("The file could not be kept just now; send it again.") from None
    except BaseException:
        await discard(context, upload.blob)
        raise
    dataset_id = str(answer.body["id"])
    if answer.replayed:
        await discard(context, upload.blob)
    elif made[0].state == "checking":
        context.doorbell.ring_dataset(dataset_id)
    return await judged(context, dataset_id, wait=wait, key_id=key.id, route=_ROUTE, idempotency_key=idempotency_key)


def _name(upload: Upload) -> str:
    """Return the name that was given, else the file's without its endings."""
    name = upload.fields.get("name", "").strip()
    if len(name) > LONGEST_NAME:
        raise Invalid(errors=[FieldError(field="name", message="too long", allowed={"maxLength": LONGEST_NAME})])
    stem = (upload.filename or "").removesuffix(".gz")
    return (name or PurePath(stem).stem or "data set")[:LONGEST_NAME]


@routes.get("/datasets", responses=problems())
async def list_datasets(
    context: AppContext,
    key: ReadKey,
    after: Annotated[
        str | None,
        Query(
            pattern=f"^(ds_{ULID}|{'|'.join(BUILTIN_DATASETS)})$", description="Id of the last one of the page before."
        ),
    ] = None,
    limit: Limit = 20,
) -> DatasetList:
    """List data sets: uploaded ones newest first, then the built-in ones that are installed here."""
    builtin = [row for row in BUILTIN_DATASETS.values() if row.installed()]
    uploaded: list[DatasetObject] = []
    if after in BUILTIN_DATASETS:
        names = list(BUILTIN_DATASETS)
        builtin = [row for row in builtin if names.index(row.name) > names.index(after)]
    else:
        mine = key.organisation_id

        def read(connection: Connection) -> tuple[list[DatasetObject], bool]:
            page = datasets.list_datasets(connection, after=after, limit=limit, organisation=mine)
            return as_shown(connection, page.data), page.has_more

        uploaded, has_more = await context.read(read)
        if has_more:
            return DatasetList(data=uploaded, has_more=True)
    room = limit - len(uploaded)
    shown = [DatasetObject.of_builtin(row) for row in islice(builtin, room)]
    return DatasetList(data=[*uploaded, *shown], has_more=len(builtin) > room)


@routes.get("/datasets/{dataset_id:dataset}", responses=problems(NotFound))
async def get_dataset(dataset_id: DatasetId, context: AppContext, key: ReadKey) -> DatasetObject:
    """Get a data set with its profile."""
    builtin = BUILTIN_DATASETS.get(dataset_id)
    if builtin is not None:
        return DatasetObject.of_builtin(builtin)
    mine = key.organisation_id

    def read(connection: Connection) -> DatasetObject:
        return as_shown(connection, [datasets.get(connection, dataset_id, organisation=mine)])[0]

    return await context.read(read)


@routes.get(
    "/datasets/{dataset_id:dataset}/thumbnails",
    response_class=FileResponse,
    responses={
        **PICTURE_ANSWERS,
        **problems(NotFound),
    },
)
async def get_thumbnails(
    request: Request,
    dataset_id: DatasetId,
    context: AppContext,
    key: ReadKey,
    if_none_match: Annotated[str | None, Header(description="ETag of what is there already.")] = None,  # noqa: ARG001
) -> Response:
    """Get a picture with some images of each class: row i shows class i, as the profile's `thumbnails` says.

    Those that are not `ready` have none.
    """
    name = f"{dataset_id}.webp"
    builtin = BUILTIN_DATASETS.get(dataset_id)
    if builtin is not None:
        version = await to_thread.run_sync(file_sha256, builtin.thumbnails)
        return await serve_picture(request, lambda: builtin.thumbnails, version=version, name=name)

    def read(connection: Connection) -> str | None:
        return datasets.get(connection, dataset_id, organisation=key.organisation_id).thumbnails_sha256

    sha256 = await context.read(read)
    if sha256 is None:
        raise NotFound(f"The data set {dataset_id} has no thumbnails.")
    return await serve_picture(request, partial(context.store.blobs.local, sha256), version=sha256, name=name)


@routes.delete("/datasets/{dataset_id:dataset}", status_code=204, responses=problems(NotFound, Conflict, DatasetInUse))
async def delete_dataset(dataset_id: DatasetId, context: AppContext, key: WriteKey) -> None:
    """Delete an uploaded data set. Jobs that have ended keep their results; one that has not ended prevents it."""
    if dataset_id in BUILTIN_DATASETS:
        raise Conflict(f"{dataset_id} is built in and cannot be deleted.")
    mine = key.organisation_id
    digests = await context.write(lambda connection: datasets.remove(connection, dataset_id, organisation=mine))
    await context.collect(digests)
