"""Ids that say what they are and sort by the time they were made: ``job_01K9…`` (a prefix and a ULID)."""

from __future__ import annotations

import secrets
import threading
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_RANDOM_BITS = 80


class _Clock:
    """Makes 128-bit numbers that grow within a process even when several fall into one millisecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> int:
        with self._lock:
            value = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
            if value >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                value = self._last + 1 + secrets.randbits(32)
            self._last = value
            return value


_clock = _Clock()


def new_id(prefix: str) -> str:
    """Return ``prefix_`` and 26 characters of base 32: 48 bits of milliseconds, then 80 random bits."""
    value = _clock.next()
    digits = [_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5)]
    return f"{prefix}_{''.join(digits)}"
