"""What a queue may be called."""

from __future__ import annotations

import re

QUEUE_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,39}$"
_RESERVED = {
    "auto": "that is where jobs wait that any worker may take",
    "inspect": "that is where uploads wait for a look",
}


def check_queue(name: str) -> str:
    """The name, if it may be a queue's.

    Raises:
        ValueError: it may not; the message says what may.
    """
    if not re.fullmatch(QUEUE_PATTERN, name):
        raise ValueError(
            f"{name[:100]!r} is no name of a queue: up to 40 small letters, digits, - and _, beginning with one of the "
            "former two"
        )
    if name in _RESERVED:
        raise ValueError(f"no queue can be named {name!r}: {_RESERVED[name]}")
    return name
