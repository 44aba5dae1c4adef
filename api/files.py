"""Serving a stored file: entity tag, digest, and one range of bytes."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Header, Request, Response
from starlette.responses import FileResponse

from api.context import Context
from api.problems import RangeNotSatisfiable
from api.routing import matches

_ONE_RANGE = re.compile(r"bytes=(?P<first>\d{0,18})-(?P<last>\d{0,18})")
_BYTES = {"schema": {"type": "string", "format": "binary"}}
_CONTENT = {"application/octet-stream": _BYTES, "application/json": {"schema": {}}}

FILE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "content": _CONTENT},
    206: {"description": "The bytes that `Range` asked for.", "content": _CONTENT},
    304: {"description": "Unchanged since the ETag that was sent."},
}
ByteRange = Annotated[str | None, Header(alias="Range", description="One range of bytes, e.g. `bytes=1000-`.")]
IfRange = Annotated[str | None, Header(alias="If-Range", description="ETag that the range belongs to.")]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", description="ETag of what is there already.")]


async def serve_file(request: Request, context: Context, sha256: str, size: int, *, name: str, media: str) -> Response:
    """Answer with a stored file as a download. The ETag is its SHA-256, which `Repr-Digest` holds as well.

    Raises:
        RangeNotSatisfiable: the range begins behind the end.
        BlobMissingError: the file is gone.
        StorageAwayError: the object store that has it does not answer.
    """
    tag = f'"{sha256}"'
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {
        "ETag": tag,
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, no-cache",
    }
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    path = await to_thread.run_sync(context.store.blobs.local, sha256)
    asked = request.headers.get("range")
    if asked is not None and not _usable(asked, size):
        # RFC 9110 section 14.2: a range that is not understood is passed over, and the whole file is the answer.
        request.scope["headers"] = [(key, value) for key, value in request.scope["headers"] if key != b"range"]
    return FileResponse(path, headers=headers, media_type=media, filename=name)


PICTURE_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture.", "content": {"image/webp": _BYTES}},
    304: {"description": "Unchanged since the ETag that was sent."},
}


async def serve_picture(request: Request, local: Callable[[], Path], *, version: str, name: str) -> Response:
    """Answer with a WebP picture, shown and not downloaded. ``local`` tells in a thread where it is.

    Raises:
        BlobMissingError: the file is gone (by ``local``).
    """
    tag = f'"{version}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        # An image and nothing else, whatever a browser makes of its bytes.
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    return FileResponse(
        await to_thread.run_sync(local),
        headers=headers,
        media_type="image/webp",
        filename=name,
        content_disposition_type="inline",
    )


def _usable(header: str, size: int) -> bool:
    """Whether the header names one range within a file of ``size`` bytes; several ranges are not served.

    Raises:
        RangeNotSatisfiable: it names one range that begins behind the end.
    """
    match = _ONE_RANGE.fullmatch(header.strip())
    if match is None or not (match["first"] or match["last"]):
        return False
    if match["first"] and match["last"] and int(match["first"]) > int(match["last"]):
        return False
    if (match["first"] and int(match["first"]) >= size) or (not match["first"] and int(match["last"]) == 0) or not size:
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return True
