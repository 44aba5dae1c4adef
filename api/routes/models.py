"""Models: list, upload, look at, download, predict, export, delete."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import Query, Request, Response
from sqlalchemy import Connection
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse

from api.auth import ReadKey, WriteKey
from api.context import AppContext, Context
from api.files import FILE_ANSWERS, ByteRange, IfNoneMatch, IfRange, serve_file
from api.images import read_images
from api.problems import (
    DeadlineExceeded,
    FieldError,
    IdempotencyMismatch,
    Invalid,
    Malformed,
    ModelNotUsable,
    ModelRejected,
    NotFound,
    NoWorker,
    RangeNotSatisfiable,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
    request_id,
)
from api.routes.jobs import IdempotencyKey
from api.routing import created, problems, router
from api.schemas.common import ULID, Limit, ModelId
from api.schemas.models import (
    MAX_IMAGES,
    MAX_TOP_K,
    ExportFormat,
    ExportList,
    ExportObject,
    ExportRequest,
    ModelList,
    ModelObject,
    PredictAnswer,
    PredictRequest,
    PredictRowsRequest,
)
from api.table_rows import read_rows
from api.uploads import Upload, discard, receive
from fqt_core.errors import CheckpointError
from fqt_core.tensorheader import header_length
from jobs import models
from jobs.asks import Desk
from jobs.blobs import Blob
from jobs.errors import BlobMissingError, NotFoundError
from jobs.records import Model, ModelExport

routes = router("models")

_ROUTE = "POST /v1/models"
_MAX_NAME = 200
_MARKDOWN = {"schema": {"type": "string"}}
_FORM = {
    "type": "object",
    "additionalProperties": False,
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "description": "safetensors: a packed model of this service, or full-precision weights of one of its "
            "networks (torchvision's names fit).",
        },
        "name": {"type": "string", "maxLength": _MAX_NAME, "description": "A name for people."},
    },
}
_UPLOAD = {"schema": _FORM, "encoding": {"file": {"contentType": "application/x-safetensors"}}}
_IMAGES = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {
        "image": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_IMAGES,
            "items": {"type": "string", "format": "binary"},
        },
        "top_k": {"type": "integer", "minimum": 1, "maximum": MAX_TOP_K, "default": 5},
    },
}


@routes.get("/models", responses=problems())
async def list_models(
    context: AppContext,
    key: ReadKey,
    job: Annotated[str | None, Query(pattern=f"^job_{ULID}$", description="Only what this job made.")] = None,
    architecture: Annotated[str | None, Query(max_length=40, description="Only of this network.")] = None,
    method: Annotated[str | None, Query(max_length=40, description="Only of this method.")] = None,
    after: Annotated[
        str | None, Query(pattern=f"^mdl_{ULID}$", description="Id of the last one of the page before.")
    ] = None,
    limit: Limit = 20,
) -> ModelList:
    """List models, newest first."""
    page = await context.read(
        lambda connection: models.list_models(
            connection,
            organisation=key.organisation_id,
            after=after,
            limit=limit,
            job_id=job,
            architecture=architecture,
            method=method,
        )
    )
    return ModelList(data=[ModelObject.of(row) for row in page.data], has_more=page.has_more)


@routes.post(
    "/models",
    status_code=201,
    response_model=ModelObject,
    responses=problems(
        ModelRejected,
        IdempotencyMismatch,
        Malformed,
        TooLarge,
        UnsupportedMediaType,
        Unavailable,
        NoWorker,
        DeadlineExceeded,
    ),
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": _UPLOAD}}},
)
async def upload_model(
    request: Request, context: AppContext, key: WriteKey, idempotency_key: IdempotencyKey = None
) -> Response:
    """Upload a model. A worker checks it from its header to its last value; of what cannot be used nothing is kept.

    What a file says of itself (classes, metrics) is taken as said.
    """
    upload = await receive(request, context, limit=context.settings.max_model_bytes, check=_begins_well)
    try:
        name = _name(upload)
        facts = (await ask(context, request, "files", {"kind": "inspect"}, upload.blob.sha256))["facts"]

        def create(connection: Connection) -> tuple[int, Any]:
            row = models.create(
                connection,
                context.store.blobs,
                upload.blob,
                organisation=key.organisation_id,
                facts=facts,
                name=name,
                created_by=key.id,
            )
            return 201, ModelObject.of(row).model_dump(mode="json")

        answer = await context.once(
            create,
            key_id=key.id,
            route=_ROUTE,
            idempotency_key=idempotency_key,
            request=f"{upload.blob.sha256} {name!r}".encode(),
        )
    except BlobMissingError:
        raise Unavailable("An equal file was being removed at the same moment; send this one again.") from None
    except BaseException:
        await discard(context, upload.blob)
        raise
    if answer.replayed:
        await discard(context, upload.blob)
    return created(answer, "/v1/models")


@routes.get("/models/{model_id}", responses=problems(NotFound))
async def get_model(model_id: ModelId, context: AppContext, key: ReadKey) -> ModelObject:
    """Get a model with its lineage, curves and confusion matrix."""
    return ModelObject.of(await model_of(context, model_id, key.organisation_id))


@routes.delete("/models/{model_id}", status_code=204, responses=problems(NotFound))
async def delete_model(model_id: ModelId, context: AppContext, key: WriteKey) -> None:
    """Delete a model and its exports. The job that made it keeps its files; jobs that start from it keep theirs."""
    digests = await context.write(
        lambda connection: models.remove(connection, model_id, organisation=key.organisation_id)
    )
    await context.collect(digests)


@routes.get(
    "/models/{model_id}/file",
    response_class=FileResponse,
    responses={**FILE_ANSWERS, **problems(NotFound, RangeNotSatisfiable)},
)
async def download_model(
    request: Request,
    model_id: ModelId,
    context: AppContext,
    key: ReadKey,
    _range: ByteRange = None,
    _if_range: IfRange = None,
    _if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a model's file. The ETag is its SHA-256, which `Repr-Digest` holds as well; `Range` resumes."""
    row = await model_of(context, model_id, key.organisation_id)
    ending = "txt" if row.format == "trees" else "safetensors"
    name, media = f"{row.id}.{ending}", "application/octet-stream"
    return await serve_file(request, context, row.sha256, row.size, name=name, media=media)


@routes.get(
    "/models/{model_id}/card",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "The card, as Markdown.", "content": {"text/markdown": _MARKDOWN}},
        **problems(NotFound),
    },
)
async def get_model_card(model_id: ModelId, context: AppContext, key: ReadKey) -> Response:
    """Get a model's card: data, method, curves, accuracy, confusion matrix, arithmetic, size, and how to use it."""
    row = await model_of(context, model_id, key.organisation_id)
    return PlainTextResponse(models.card(row), media_type="text/markdown")


@routes.post(
    "/models/{model_id}/predict",
    response_model=PredictAnswer,
    responses=problems(
        NotFound,
        ModelNotUsable,
        Malformed,
        TooLarge,
        UnsupportedMediaType,
        Unavailable,
        NoWorker,
        DeadlineExceeded,
    ),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [PredictRequest.model_json_schema(), PredictRowsRequest.model_json_schema()],
                    }
                },
                "multipart/form-data": {
                    "schema": _IMAGES,
                    "encoding": {"image": {"contentType": "image/png, image/jpeg, image/webp, image/bmp"}},
                },
            },
        }
    },
)
async def predict(request: Request, model_id: ModelId, context: AppContext, key: ReadKey) -> Response:
    """Classify images, or predict rows of a table: the most probable classes of each, with their probabilities.

    A model of trees takes rows, and in regression it answers with a value for each. Any worker answers, on its CPU,
    with a process that keeps the models that were asked for last. A request has at most 8 MiB, 64 images, 1,000 rows.
    """
    row = await model_of(context, model_id, key.organisation_id)
    if row.format == "trees":
        rows, top_k = await read_rows(request)
        asked = {"kind": "rows", "top_k": top_k}
        found = await ask(context, request, "predict", asked, row.sha256, [json.dumps(rows).encode()])
        return JSONResponse({"object": "prediction", "model": row.id, "predictions": found["predictions"]})
    if row.format != "packed":
        raise ModelNotUsable
    images, top_k = await read_images(request)
    found = await ask(context, request, "predict", {"kind": "predict", "top_k": top_k}, row.sha256, images)
    predictions = [
        {**entry, "top": [{"label": label, "probability": share} for label, share in entry["top"]]}
        for entry in found["predictions"]
    ]
    return JSONResponse({"object": "prediction", "model": row.id, "predictions": predictions})


@routes.get("/models/{model_id}/exports", responses=problems(NotFound))
async def list_exports(model_id: ModelId, context: AppContext, key: ReadKey) -> ExportList:
    """List what a model was exported to."""

    def read(connection: Connection) -> list[ModelExport]:
        models.get(connection, model_id, organisation=key.organisation_id)
        return models.list_exports(connection, model_id)

    return ExportList(data=[ExportObject.of(row) for row in await context.read(read)])


@routes.post(
    "/models/{model_id}/exports",
    status_code=201,
    response_model=ExportObject,
    responses={
        200: {"model": ExportObject, "description": "It was exported before."},
        **problems(
            NotFound, ModelNotUsable, Malformed, TooLarge, UnsupportedMediaType, Unavailable, NoWorker, DeadlineExceeded
        ),
    },
)
async def export_model(
    request: Request,
    model_id: ModelId,
    body: ExportRequest,
    context: AppContext,
    key: WriteKey,
    _idempotency_key: IdempotencyKey = None,
) -> Response:
    """Export a model. A worker does it, compares the result with the model, and stores it; asked again, it is there.

    There is one export per model and format, so that a repetition makes nothing new, whatever its Idempotency-Key.
    """
    row = await packed_model(context, model_id, key.organisation_id)

    def known(connection: Connection) -> ModelExport | None:
        try:
            return models.get_export(connection, model_id, body.format)
        except NotFoundError:
            return None

    found = await context.read(known)
    status = 201 if found is None else 200
    if found is None:
        made = await ask(context, request, "files", {"kind": "export", "format": body.format}, row.sha256)
        found = await _keep(context, row, body.format, made, key.organisation_id)
    location = f"/v1/models/{model_id}/exports/{body.format}"
    return JSONResponse(ExportObject.of(found).model_dump(mode="json"), status, headers={"Location": location})


@routes.get(
    "/models/{model_id}/exports/{format}",
    response_class=FileResponse,
    responses={**FILE_ANSWERS, **problems(NotFound, RangeNotSatisfiable)},
)
async def download_export(
    request: Request,
    model_id: ModelId,
    format: ExportFormat,
    context: AppContext,
    key: ReadKey,
    _range: ByteRange = None,
    _if_range: IfRange = None,
    _if_none_match: IfNoneMatch = None,
) -> Response:
    """Download an export. The ETag is its SHA-256, which `Repr-Digest` holds as well; `Range` resumes."""

    def read(connection: Connection) -> ModelExport:
        models.get(connection, model_id, organisation=key.organisation_id)
        return models.get_export(connection, model_id, format)

    row = await context.read(read)
    name, media = f"{model_id}.{format}", "application/octet-stream"
    return await serve_file(request, context, row.sha256, row.size, name=name, media=media)


async def model_of(context: Context, model_id: str, organisation: str) -> Model:
    """The model of an organisation."""
    return await context.read(lambda connection: models.get(connection, model_id, organisation=organisation))


async def packed_model(context: Context, model_id: str, organisation: str) -> Model:
    """The model of an organisation, which is a network that predicts.

    Raises:
        ModelNotUsable: it is no packed one.
    """
    row = await model_of(context, model_id, organisation)
    if row.format == "trees":
        raise ModelNotUsable("Trees have no layers and are not exported: their file is LightGBM's own text.")
    if row.format != "packed":
        raise ModelNotUsable
    return row


async def ask(
    context: Context,
    request: Request,
    desk: Desk,
    header: dict[str, Any],
    sha256: str,
    payload: list[bytes] | None = None,
) -> dict[str, Any]:
    """A worker's answer about a stored file.

    Raises:
        Problem: there is none, or the worker refused; its words are told.
    """
    settings = context.settings
    seconds = settings.predict_seconds if desk == "predict" else settings.export_seconds
    asked = {**header, "sha256": sha256, "request_id": request_id(request)}
    answer = await context.asker.ask(desk, asked, payload or [], seconds=seconds)
    if answer["ok"]:
        return answer
    code, message = answer["code"], answer["message"]
    if code == "invalid_model":
        raise ModelRejected(f"{message[:1].upper()}{message[1:]}.", errors=[FieldError(field="file", message=message)])
    if code == "invalid_image":
        raise Invalid(errors=[FieldError(field=answer.get("field") or "images", message=message)])
    if code == "no_layer":
        raise NotFound(f"{message[:1].upper()}{message[1:]}.")
    if code == "out_of_memory":
        raise TooLarge(f"The worker cannot do this: {message}.")
    if code == "too_slow":
        raise DeadlineExceeded(f"The worker gave up: {message}; try again, or raise the limit.")
    raise Unavailable(f"The worker could not do this: {message}; try again in a moment.")


async def _keep(
    context: Context, model: Model, format: ExportFormat, made: dict[str, Any], organisation: str
) -> ModelExport:
    """Make the row of an export whose file a worker has stored."""
    blob = Blob(made["sha256"], made["size"])

    def write(connection: Connection) -> ModelExport:
        models.get(connection, model.id, organisation=organisation)  # it may have been deleted meanwhile
        return models.add_export(
            connection, context.store.blobs, blob, model_id=model.id, format=format, details=made["details"]
        )

    try:
        return await context.write(write)
    except BlobMissingError:
        raise Unavailable("An equal file was being removed at the same moment; export again.") from None
    except NotFoundError:
        await discard(context, blob)
        raise


def _begins_well(start: bytes) -> None:
    try:
        header_length(start)
    except CheckpointError as error:
        message = str(error)
        raise ModelRejected(errors=[FieldError(field="file", message=message)]) from None


def _name(upload: Upload) -> str:
    """Return the name that was given, else the file's without its ending."""
    name = upload.fields.get("name", "").strip()
    if len(name) > _MAX_NAME:
        raise Invalid(errors=[FieldError(field="name", message="too long", allowed={"maxLength": _MAX_NAME})])
    return (name or PurePath(upload.filename or "").stem or "model")[:_MAX_NAME]
