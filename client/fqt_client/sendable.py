"""What a request may hold: checked before it is sent, so that a wrong value is named and not told as a broken line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from fqt_client.errors import UnusableValueError


def json_bytes(value: Any) -> bytes:
    """Encode a JSON body.

    Raises:
        UnusableValueError: it holds what JSON has not (NaN, an infinity, half a character, an object of Python's).
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        path, what = _first_fault(value) or ("the request", str(error))
        raise UnusableValueError(f"{path}: {what}", remedy="give a finite number, or text in UTF-8") from error


def check_headers(headers: Mapping[str, str]) -> None:
    """Check headers that a user gave.

    Raises:
        UnusableValueError: one holds something else than visible ASCII characters and blanks.
    """
    for name, value in headers.items():
        if not fits_header(value):
            message = f"{name} is {value!r}; only visible ASCII characters can be sent"
            raise UnusableValueError(message, remedy="use letters, digits and punctuation")


def fits_header(value: str) -> bool:
    """Whether a header can carry this text as it is."""
    return value.isascii() and value.isprintable() and value == value.strip()


def _first_fault(value: Any, path: str = "") -> tuple[str, str] | None:
    """Path and description of the first value that JSON cannot hold."""
    if isinstance(value, Mapping):
        parts = [(f"{path}.{name}" if path else str(name), inner) for name, inner in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}.{index}" if path else str(index), inner) for index, inner in enumerate(value)]
    else:
        return _fault(value, path or "the request")
    return next((fault for where, inner in parts if (fault := _first_fault(inner, where))), None)


def _fault(value: Any, path: str) -> tuple[str, str] | None:
    if isinstance(value, float) and not math.isfinite(value):
        return path, f"{value} is no number that can be sent"
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return path, f"{value!r} is not valid Unicode"
    if value is None or isinstance(value, str | int | float):
        return None
    return path, f"a {type(value).__name__} is no JSON value"
