"""Taking an upload into the blob store while it arrives: one piece in memory, nothing left behind when it fails."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog
from anyio import CancelScope, to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from api.context import Context
from api.multipart import FileUpload
from jobs import blob_rows
from jobs.blobs import Blob
from jobs.errors import BlobError, StorageAwayError

log = structlog.get_logger("fqt.api.uploads")
_PIECE = 1 << 20
_START = 8


@dataclass(frozen=True)
class Upload:
    """A stored upload: its blob, which no row refers to yet, the file's name and the form's short fields."""

    blob: Blob
    filename: str | None
    fields: Mapping[str, str]


async def receive(
    request: Request,
    context: Context,
    fields: Collection[str] = ("name",),
    *,
    limit: int | None = None,
    check: Callable[[bytes], None] | None = None,
) -> Upload:
    """Store the file of a multipart/form-data request, which may have these short fields.

    Args:
        request: its body has not been read.
        context: where to store it.
        limit: largest file in bytes, if other than the settings'.
        check: is called once with the file's first bytes, at least 8 of them if it has so many, before more is read.

    Raises:
        Problem: the form is not what it should be, or too large; see :class:`api.multipart.FileUpload`.
        ClientDisconnect: the client went away. In each case nothing is kept.
    """
    form = FileUpload(request, limit=context.settings.max_upload_bytes if limit is None else limit, fields=fields)
    buffer = bytearray()
    with context.store.blobs.writer() as writer:
        async for piece in form.chunks():
            buffer += piece
            if check is not None and len(buffer) >= _START:
                check(bytes(buffer[:_START]))
                check = None
            if len(buffer) >= _PIECE:
                await to_thread.run_sync(writer.write, bytes(buffer), limiter=context.upload_threads)
                buffer.clear()
        if check is not None:
            check(bytes(buffer))
        await to_thread.run_sync(writer.write, bytes(buffer), limiter=context.upload_threads)
        blob = await to_thread.run_sync(writer.finish, limiter=context.upload_threads)
    return Upload(blob, form.filename, form.values)


async def discard(context: Context, blob: Blob) -> None:
    """Remove a stored file unless something refers to it. Runs to its end even when the request is being cancelled."""

    def work() -> None:
        with context.store.write() as connection:
            blob_rows.register(connection, context.store.blobs, blob)
        context.store.collect([blob.sha256])

    with CancelScope(shield=True):
        try:
            await context.in_thread(work)
        except (SQLAlchemyError, BlobError, StorageAwayError) as error:
            log.warning("a refused upload could not be removed", sha256=blob.sha256, error=str(error))
