"""Reading the images of a prediction request, JSON or a form. They are not looked at here: a worker's child does."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api import json_body
from api.problems import FieldError, Invalid, Malformed, UnsupportedMediaType
from api.routing import whole_body
from api.schemas.models import MAX_IMAGES, PredictRequest
from api.validation import explain

MAX_BYTES = 8 * 2**20
"""Of a request: what waits for workers is in the broker's memory."""

_FIELD = "image"


class _Parser(MultiPartParser):
    """An image with a content type is a file, although it has no file's name: RFC 7578 (section 4.2) asks for none."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        disposition = part.content_disposition or b""
        options = parse_options_header(disposition)[1]
        typed = any(name == b"content-type" for name, _ in part.item_headers)
        if typed and options.get(b"name") == _FIELD.encode() and b"filename" not in options:
            part.content_disposition = disposition + b'; filename=""'
        super().on_headers_finished()


async def read_images(request: Request) -> tuple[list[bytes], int]:
    """The image files of a request, and how many classes to name.

    Raises:
        UnsupportedMediaType, TooLarge, Malformed, Invalid: the request is not what it should be.
    """
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media == "application/json":
        return _of_json(await _body(request))
    if media == "multipart/form-data":
        return await _of_form(request, await _body(request))
    raise UnsupportedMediaType(
        f"Send images as application/json (base64) or as multipart/form-data (fields {_FIELD!r}), not "
        f"{media[:100] or 'none'}."
    )


async def _body(request: Request) -> bytes:
    told = f"A request to predict has at most {MAX_BYTES} bytes; send fewer or smaller images."
    return await whole_body(request, MAX_BYTES, told)


def _of_json(body: bytes) -> tuple[list[bytes], int]:
    value = json_body.parse(body)
    try:
        asked = PredictRequest.model_validate(value)
    except ValidationError as error:
        raise Invalid(errors=explain(error.errors(include_url=False), PredictRequest)) from None
    images, faults = [], []
    for index, text in enumerate(asked.images):
        try:
            images.append(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            faults.append(FieldError(field=f"images.{index}", message="is not base64"))
    if faults:
        raise Invalid(errors=faults)
    return images, asked.top_k


async def _of_form(request: Request, body: bytes) -> tuple[list[bytes], int]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _Parser(request.headers, once(), max_files=MAX_IMAGES, max_fields=4, max_part_size=MAX_BYTES)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Malformed(f"The form cannot be read: {error.message}") from None
    except (KeyError, ValueError):  # no boundary, or one that is none
        raise Malformed("The form cannot be read.") from None
    try:
        images: list[bytes] = []
        asked: dict[str, Any] = {"images": ["-"]}  # their number and names are checked here, the rest as in JSON
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) and name == _FIELD:
                images.append(await value.read())
            elif name == "top_k" and not isinstance(value, UploadFile):
                asked["top_k"] = value
            else:
                message = "unknown form field" if name != _FIELD else "must be a file"
                raise Invalid(errors=[FieldError(field=name[:100], message=message, allowed=[_FIELD, "top_k"])])
    finally:
        await form.close()
    if not images:
        raise Invalid(errors=[FieldError(field=_FIELD, message="field required: the image to classify")])
    try:
        return images, PredictRequest.model_validate(asked, strict=False).top_k  # a form has text only
    except ValidationError as error:
        raise Invalid(errors=explain(error.errors(include_url=False), PredictRequest)) from None
