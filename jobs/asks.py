"""What the API asks of workers and waits for: predictions, looks through uploaded models, exports.

A question is a frame under a key of the broker that expires when its asker gives up; its id goes onto a list that
workers take from, one question at a time each. The answer is a list of one frame, which expires as well. So nothing
stays behind when a process dies, and each asker waits no longer than it said. Nothing here is a job: an answer that was
lost is asked for again.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

Desk: TypeAlias = Literal["predict", "files"]
"""Who is asked: ``predict`` is quick, ``files`` looks through models and exports them."""

DESKS: tuple[Desk, ...] = ("predict", "files")
ANSWER_KEPT_SECONDS = 60
_LENGTH = struct.Struct(">I")


def list_name(desk: Desk) -> str:
    """The list that the ids of a desk's questions go onto."""
    return f"fqt:asks:{desk}"


def question_name(identity: str) -> str:
    """The key of a question."""
    return f"fqt:ask:{identity}"


def answer_name(identity: str) -> str:
    """The list that the answer to a question goes onto."""
    return f"fqt:answer:{identity}"


def encode(header: dict[str, Any], payload: Sequence[bytes] = ()) -> bytes:
    """One frame: the length of the header, the header as JSON with the sizes of the payload's parts, those parts."""
    text = json.dumps({**header, "sizes": [len(part) for part in payload]}).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *payload))


def decode(frame: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Header and payload of a frame; inverse of :func:`encode`.

    Raises:
        ValueError: it is no frame.
    """
    try:
        (length,) = _LENGTH.unpack_from(frame)
    except struct.error as error:
        raise ValueError("no frame") from error
    at = _LENGTH.size + length
    header = json.loads(frame[_LENGTH.size : at])
    payload = []
    for size in header.pop("sizes"):
        payload.append(frame[at : at + size])
        at += size
    if at != len(frame):
        raise ValueError("the parts of a frame do not fill it")
    return header, payload
