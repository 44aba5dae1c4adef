"""How long a job stands still after kill -9 of its worker, with the default settings of lease, heartbeat and reaper.

Two workers and the API (whose reaper takes the job back) run on PostgreSQL; a real job trains. The worker that has it
is killed, once it has kept a checkpoint (a job that fails again and again without one ends); the time ends when the
other one has claimed the job. Then the dead one is replaced.
"""

from __future__ import annotations

import subprocess
import time

from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row, spread
from benchmarks.service.seeds import SPEC
from jobs import jobs
from jobs.records import Job
from jobs.spec import JobSpec

_KILLS = 5
_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.02


def measure() -> list[Row]:
    """One row: the longest of several."""
    with place.service(place.POSTGRESQL) as service:
        service.api()
        workers = {process.pid: process for process in (service.worker(), service.worker())}
        spec = JobSpec.model_validate(SPEC | {"training": SPEC["training"] | {"epochs": 10_000}})
        with service.store.write() as connection:
            job = jobs.create(connection, spec)
        times = []
        for kill in range(_KILLS):
            times.append(_kill(service, job.id, workers))
            say(f"kill {kill + 1} of {_KILLS}: {times[-1]:.2f} s")
        settings = service.settings
        most = settings.lease_seconds + settings.reaper_seconds
    what = "from kill -9 of a worker to the next claim of its job, longest"
    given = {"lease_seconds": settings.lease_seconds, "reaper_seconds": settings.reaper_seconds}
    return [row("recovery", place.POSTGRESQL, what, max(times), "s", most=most, seconds=spread(times), **given)]


def _kill(service: place.Service, job_id: str, workers: dict[int, subprocess.Popen[bytes]]) -> float:
    """Kill the worker that has the job; return the seconds until another one has it, and start a new one."""
    job = _until_kept(service, job_id)
    epoch = job.lease_epoch
    holder = workers.pop(int((job.lease_owner or "").split(":")[1]))
    killed = time.monotonic()
    holder.kill()
    holder.wait()
    while _get(service, job_id).lease_epoch == epoch:
        if time.monotonic() - killed > _PATIENCE_SECONDS:
            raise BenchmarkError("nobody took the job back")
        time.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - killed
    process = service.worker()
    workers[process.pid] = process
    return seconds


def _until_kept(service: place.Service, job_id: str) -> Job:
    """The job, once its present attempt has kept a checkpoint, which sets its count of failures to zero."""
    before = (_get(service, job_id).progress or {}).get("step", 0)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        job = _get(service, job_id)
        further = (job.progress or {}).get("step", 0) > before
        if job.lease_owner is not None and further and job.failures == 0:
            return job
        time.sleep(_LOOK_SECONDS)
    raise BenchmarkError("the job makes no progress")


def _get(service: place.Service, job_id: str) -> Job:
    with service.store.read() as connection:
        return jobs.get(connection, job_id)
