"""How long a claim takes while many jobs wait: one transaction of a worker, from its begin to its commit."""

from __future__ import annotations

import time

from benchmarks.cli import say
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row, spread
from benchmarks.service.seeds import fill, new_keys
from jobs import lease

_WAITING, _CLAIMS, _WARM_UP = 10_000, 300, 10
_KEYS = (1, 20, 1000)
_MOST_MS = 50.0


def measure() -> list[Row]:
    """Rows of both databases."""
    rows = []
    for kind in (place.SQLITE, place.POSTGRESQL):
        for keys in _KEYS:
            times = _claims(kind, keys)
            what = f"a claim with {_WAITING:,} jobs waiting, of {keys:,} key{'s' if keys > 1 else ''}, p99"
            rows.append(row("claims", kind, what, spread(times)["p99"], "ms", most=_MOST_MS, ms=spread(times)))
            say(f"{kind}, {what}: {rows[-1]['value']} ms")
    return rows


def _claims(kind: str, keys: int) -> list[float]:
    """Milliseconds of each claim. The job ends after it, so that one runs at a time."""
    times = []
    with place.folder() as folder, place.database(kind, folder) as url:
        store = place.opened(folder, url)
        fill(store, _WAITING + _CLAIMS, new_keys(store, keys))
        for number in range(_CLAIMS):
            begin = time.perf_counter()
            with store.write() as connection:
                job = lease.claim(connection, ["cpu"], "benchmark", 15)
            if number >= _WARM_UP:
                times.append((time.perf_counter() - begin) * 1e3)
            assert job is not None, "jobs wait"
            with store.write() as connection:
                lease.succeed(connection, job.id, job.lease_epoch, {})
        store.close()
    return times
