"""Submissions at a fixed rate, as clients send them: over HTTP, with a key and an idempotency key each.

One API process; no worker takes the jobs. The client has the same cores, so what it takes of them is told beside what
the API takes.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import time
from pathlib import Path

from benchmarks.cli import say
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row, spread
from benchmarks.service.http import Connection
from benchmarks.service.load import at_rate
from benchmarks.service.seeds import SPEC

_RATE, _SECONDS, _WARM_UP_SECONDS = 200, 20, 3
_TICKS = os.sysconf("SC_CLK_TCK")
_MOST_MS = 100.0


def measure() -> list[Row]:
    """Rows of both databases."""
    return [_measured(kind) for kind in (place.SQLITE, place.POSTGRESQL)]


def _measured(kind: str) -> Row:
    with place.service(kind) as service:
        api = service.api()
        _run(service, _WARM_UP_SECONDS)
        before = _cpu(api.pid), time.process_time()
        times = _run(service, _SECONDS)
        after = _cpu(api.pid), time.process_time()
    each = [round(1e3 * (end - begin) / len(times), 2) for begin, end in zip(before, after, strict=True)]
    cpu = dict(zip(("api", "client"), each, strict=True))
    what = f"{_RATE} submissions per second, p99 from when each is due"
    say(f"{kind}, {what}: {spread(times)}, processor time of each {cpu} ms")
    return row("submissions", kind, what, spread(times)["p99"], "ms", most=_MOST_MS, ms=spread(times), cpu_ms=cpu)


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime: fields 14 and 15 of proc(5)


def _run(service: place.Service, seconds: float) -> list[float]:
    """Milliseconds from when each request was due to the end of its answer."""
    body = json.dumps(SPEC).encode()

    async def ask(connection: Connection) -> int:
        return (await connection.post("/v1/jobs", body, {"Idempotency-Key": secrets.token_hex(16)}))[0]

    return asyncio.run(at_rate(service, _RATE, seconds, ask, expected=201))
