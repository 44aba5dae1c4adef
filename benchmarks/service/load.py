"""Requests at a fixed rate, over kept connections.

The load is open: a request is due at its time whether or not those before it were answered, and its delay counts from
when it was due, so that a server that falls behind cannot hide it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from benchmarks.errors import BenchmarkError
from benchmarks.service import place
from benchmarks.service.http import Connection


async def at_rate(
    service: place.Service, rate: float, seconds: float, ask: Callable[[Connection], Awaitable[int]], *, expected: int
) -> list[float]:
    """Milliseconds from when each request was due to the end of its answer.

    ``ask`` sends one and returns its status. Raises BenchmarkError if one is not the ``expected`` one.
    """
    idle: list[Connection] = []
    times: list[float] = []
    refused: list[int] = []

    async def one(due: float) -> None:
        connection = (
            idle.pop() if idle else Connection(service.settings.port, {"Authorization": f"Bearer {service.key}"})
        )
        status = await ask(connection)
        times.append((time.perf_counter() - due) * 1e3)
        if status != expected:
            refused.append(status)
        idle.append(connection)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(due))
    for connection in idle:
        connection.close()
    if refused:
        raise BenchmarkError(f"{len(refused)} requests were refused, the first with status {refused[0]}")
    return times
