"""Reading the rows of a prediction request. Whether they fit the model is told by a worker's child, which has it."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import ValidationError

from api import json_body
from api.images import MAX_BYTES
from api.problems import Invalid, UnsupportedMediaType
from api.routing import whole_body
from api.schemas.models import PredictRowsRequest
from api.validation import explain


async def read_rows(request: Request) -> tuple[list[dict[str, Any]], int]:
    """The rows of a request, and how many classes to name.

    Raises:
        UnsupportedMediaType, TooLarge, Malformed, Invalid: the request is not what it should be.
    """
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType(f"Send rows of a table as application/json, not {media[:100] or 'none'}.")
    body = await whole_body(request, MAX_BYTES, f"A request to predict has at most {MAX_BYTES} bytes; send fewer rows.")
    value = json_body.parse(body)
    try:
        asked = PredictRowsRequest.model_validate(value)
    except ValidationError as error:
        raise Invalid(errors=explain(error.errors(include_url=False), PredictRowsRequest)) from None
    return asked.rows, asked.top_k
