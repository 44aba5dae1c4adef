"""Strict reading of JSON bodies, before any model sees them.

Python's parser takes what JSON has not (``NaN``, ``Infinity``), keeps the last of two equal names without a word, and
recurses as deep as the sender likes. Here each of these is a 400 that says what is wrong and where.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from api.problems import Malformed

MAX_DEPTH = 64
MAX_NAMES = 1000
_LARGEST_EXACT = 2**53
# A whole string (closed or not, so that no text makes the search start over), or a bracket.
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{\]}]', re.DOTALL)


class _RejectedError(ValueError):
    """The text is JSON to Python, and not to us."""


def parse(body: bytes) -> Any:
    """Return the value that ``body`` holds.

    Raises:
        Malformed: not UTF-8, not JSON, NaN or Infinity, a repeated name, an absurd number, nested deeper than
            ``MAX_DEPTH``, or an object with more than ``MAX_NAMES`` names.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 (byte {error.start}).") from None
    _check_depth(text)
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_doubles, parse_float=_finite)
        if "\\u" in text:
            _check_strings(value)
    except json.JSONDecodeError as error:
        raise Malformed(
            f"The body is not JSON: {error.msg.lower()} at line {error.lineno}, column {error.colno}."
        ) from None
    except _RejectedError as error:
        raise Malformed(str(error)) from None
    except ValueError:  # Python's bound on the digits of an integer
        raise Malformed("The body holds a number with too many digits.") from None
    return value


def _check_depth(text: str) -> None:
    """Count brackets outside strings: cheaper than a parser, safe from its recursion, one pass whatever the text."""
    depth = 0
    for match in _TOKENS.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(f"The body is nested deeper than {MAX_DEPTH} levels.")
        elif match[0] in "]}":
            depth -= 1


def _check_strings(value: Any) -> None:
    """Refuse what no database stores and no UTF-8 holds: NUL and lone surrogates, which only escapes can spell."""
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise _RejectedError("The body holds a string with a NUL character or half a surrogate pair.")
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_strings(name)
            _check_strings(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_strings(inner)


def _no_constant(name: str) -> NoReturn:
    raise _RejectedError(f"The body holds {name}, which is not JSON; every number must be finite.")


def _finite(text: str) -> float | int:
    """A number; a whole one is an integer however it is written, as JSON Schema counts (1.0 is one)."""
    value = float(text)
    if math.isinf(value):
        raise _RejectedError(f"The body holds the number {text[:40]}, which is out of range.")
    return int(value) if value.is_integer() and abs(value) <= _LARGEST_EXACT else value


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:  # each that is unknown would have its own error
        raise _RejectedError(f"The body holds an object with more than {MAX_NAMES} names.")
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _RejectedError(f"The body names {name[:100]!r} twice in one object.")
        found[name] = value
    return found
