"""Other requests beside open event streams: what the streams add to their 95th percentile.

One API process with a pool of five database connections. Times with and without the streams alternate in one run, and
workers write events all the time, so that the streams are all the difference.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress

from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import percentile, row
from benchmarks.service.http import Connection
from benchmarks.service.load import at_rate
from benchmarks.service.seeds import running_jobs, write_line

_STREAMS, _POOL = 200, 5
_RATE, _SECONDS, _ROUNDS = 50.0, 4.0, 5
_EVENTS_PER_SECOND = 20.0
_PATIENCE_SECONDS = 30.0
_MOST_RATIO = 1.2


def measure() -> list[Row]:
    """Rows of both databases."""
    return [_measured(kind) for kind in (place.SQLITE, place.POSTGRESQL)]


def _measured(kind: str) -> Row:
    with place.service(kind, database_pool=_POOL) as service:
        jobs = running_jobs(service.store, _STREAMS)
        service.api()
        stop = threading.Event()
        writer = threading.Thread(target=_write, args=(service, jobs, stop))
        writer.start()
        try:
            without, beside = asyncio.run(_compared(service, jobs))
        finally:
            stop.set()
            writer.join()
    ratio = statistics.median(b / a for a, b in zip(without, beside, strict=True))
    what = f"p95 of reads beside {_STREAMS} event streams, pool of {_POOL}, to p95 without them"
    p95 = {"without_ms": [round(value, 3) for value in without], "beside_ms": [round(value, 3) for value in beside]}
    say(f"{kind}, {what}: {ratio:.2f}; {p95}")
    return row("bystanders", kind, what, ratio, "x", most=_MOST_RATIO, **p95)


async def _compared(service: place.Service, jobs: Sequence[str]) -> tuple[list[float], list[float]]:
    """The 95th percentile of each round, in milliseconds: without the streams, and beside them."""
    without, beside = [], []
    await _p95(service, jobs)  # what is slow once only
    for _ in range(_ROUNDS):
        without.append(await _p95(service, jobs))
        ready: list[str] = []
        streams = [asyncio.create_task(_follow(service, job, ready)) for job in jobs]
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(ready) < len(jobs):
            if time.monotonic() > deadline or any(stream.done() for stream in streams):
                raise BenchmarkError(f"{len(ready)} of {len(jobs)} event streams are open")
            await asyncio.sleep(0.05)
        beside.append(await _p95(service, jobs))
        if any(stream.done() for stream in streams):
            raise BenchmarkError("an event stream ended")
        for stream in streams:
            stream.cancel()
        await asyncio.wait(streams)
    return without, beside


async def _p95(service: place.Service, jobs: Sequence[str]) -> float:
    turns = itertools.cycle(jobs)

    async def ask(connection: Connection) -> int:
        return (await connection.get(f"/v1/jobs/{next(turns)}"))[0]

    return percentile(await at_rate(service, _RATE, _SECONDS, ask, expected=200), 0.95)


async def _follow(service: place.Service, job: str, ready: list[str]) -> None:
    connection = Connection(service.settings.port, {"Authorization": f"Bearer {service.key}"})
    try:
        async with aclosing(connection.stream(f"/v1/jobs/{job}/events/stream")) as stream:  # type: ignore[type-var]
            async for event in stream:
                if event["type"] == "state":
                    ready.append(job)
    finally:
        with suppress(OSError):
            connection.close()


def _write(service: place.Service, jobs: Sequence[str], stop: threading.Event) -> None:
    for job in itertools.cycle(jobs):
        if stop.wait(1 / _EVENTS_PER_SECOND):
            return
        write_line(service.store, job)
