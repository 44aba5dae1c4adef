"""Event streams: how long after a worker begins to write an event every client has it.

Each stream is of a job of its own, all in one API process with a pool of five database connections. Events are written
as a worker writes them, one transaction each, evenly over the jobs; the delay counts from before that transaction.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import aclosing

from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row, spread
from benchmarks.service.http import Connection
from benchmarks.service.seeds import running_jobs, write_line
from jobs.store import Store

_STREAMS, _ROUNDS, _PER_SECOND, _POOL = 500, 4, 100, 5
_PATIENCE_SECONDS = 30
_MOST_MS = 1000.0


def measure() -> list[Row]:
    """One row, on PostgreSQL."""
    with place.service(place.POSTGRESQL, database_pool=_POOL) as service:
        jobs = running_jobs(service.store, _STREAMS)
        service.api()
        delays = asyncio.run(_watch(service, jobs))
    what = f"{_STREAMS} event streams, {_PER_SECOND} events per second, pool of {_POOL}, delay p99"
    say(f"{what}: {spread(delays)}")
    return [row("streams", place.POSTGRESQL, what, spread(delays)["p99"], "ms", most=_MOST_MS, ms=spread(delays))]


async def _watch(service: place.Service, jobs: list[str]) -> list[float]:
    """Milliseconds of each delivery."""
    delays: list[float] = []
    ready = 0

    async def one(job: str) -> None:
        nonlocal ready
        connection = Connection(service.settings.port, {"Authorization": f"Bearer {service.key}"})
        async with aclosing(connection.stream(f"/v1/jobs/{job}/events/stream")) as stream:  # type: ignore[type-var]
            seen = 0
            async for event in stream:
                if event["type"] == "state":
                    ready += 1
                    continue
                delays.append((time.time() - event["data"]["sent"]) * 1e3)
                seen += 1
                if seen == _ROUNDS:
                    break
        connection.close()

    tasks = [asyncio.create_task(one(job)) for job in jobs]
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while ready < len(jobs) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    writer = threading.Thread(target=_write, args=(service.store, jobs))
    writer.start()
    _, late = await asyncio.wait(tasks, timeout=_ROUNDS * len(jobs) / _PER_SECOND + _PATIENCE_SECONDS)
    writer.join()
    if late or len(delays) != _ROUNDS * len(jobs):
        raise BenchmarkError(f"{len(delays)} of {_ROUNDS * len(jobs)} events arrived")
    return delays


def _write(store: Store, jobs: list[str]) -> None:
    begin = time.perf_counter()
    for number in range(_ROUNDS * len(jobs)):
        time.sleep(max(0.0, begin + number / _PER_SECOND - time.perf_counter()))
        write_line(store, jobs[number % len(jobs)])
