"""Executions of a job that lasts much longer than the broker waits before it delivers a message once more.

Two workers, a broker with a visibility timeout of two seconds, and a real job of more than a minute that is rung for
again every second. ``python -m benchmarks.service.redelivery`` is such a worker.
"""

from __future__ import annotations

import sys
import time

from api.doorbell import CeleryDoorbell
from api.instruments import Instruments
from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row
from benchmarks.service.seeds import SPEC
from jobs import events, jobs, logs
from jobs.settings import Settings
from jobs.spec import JobSpec
from worker.app import Worker

_VISIBILITY_SECONDS = 2
_EPOCHS, _LEAST_SECONDS, _PATIENCE_SECONDS = 120, 60.0, 600.0
_PAGE = 100_000


def measure() -> list[Row]:
    """One row: how often the job was begun.

    Raises:
        BenchmarkError: the job did not last long enough to tell, or did not succeed.
    """
    with place.service(place.SQLITE) as service:
        for _ in range(2):
            service.worker("-m", "benchmarks.service.redelivery")
        doorbell = CeleryDoorbell(service.settings, Instruments())
        spec = JobSpec.model_validate(SPEC | {"training": SPEC["training"] | {"epochs": _EPOCHS}})
        with service.store.write() as connection:
            job = jobs.create(connection, spec)
        rung, deadline = 0, time.monotonic() + _PATIENCE_SECONDS
        while not job.state.terminal and time.monotonic() < deadline:
            doorbell.ring_job(job.id, job.queue)
            rung += 1
            time.sleep(1)
            with service.store.read() as connection:
                job = jobs.get(connection, job.id)
        doorbell.close()
        with service.store.read() as connection:
            log = events.read(connection, job.id, limit=_PAGE)
    begun = sum(event.type == "state" and event.data["to"] == "running" for event in log)
    if job.state != "succeeded" or job.ran_seconds < _LEAST_SECONDS:
        raise BenchmarkError(f"the job is {job.state} after {job.ran_seconds:.0f} s; it must succeed after a minute")
    what = f"executions of a long job, visibility timeout {_VISIBILITY_SECONDS} s"
    details = {"seconds": round(job.ran_seconds, 1), "messages": rung}
    say(f"{what}: {begun} ({details})")
    return [row("redelivery", place.SQLITE, what, begun, "", most=1, **details)]


def main() -> int:
    """A worker whose broker takes a message for lost after two seconds."""
    settings = Settings()
    logs.configure(settings.log_level)
    worker = Worker(settings)
    worker.app.conf.broker_transport_options["visibility_timeout"] = _VISIBILITY_SECONDS
    return worker.run()


if __name__ == "__main__":
    sys.exit(main())
