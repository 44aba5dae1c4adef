"""What the service adds to a training: the same job through the service and called as a library, at the same time.

One core has the service, all of it: API, worker, PostgreSQL, broker and the training child. The other one has a process
that trains the same spec with :mod:`benchmarks.service.library`. The service is timed from the submission until the job
has succeeded, by its rows (whoever looks again and again takes time of that core), the library from the start of its
process to its end. Then they change places, and the times of both rounds are added, so that neither a better core nor
what else the machine does decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row
from benchmarks.service.seeds import SPEC
from jobs import jobs

_EPOCHS = 150
_PATIENCE_SECONDS = 900.0
_LOOK_SECONDS = 2.0
_MOST_PERCENT = 3.0


def measure(epochs: int = _EPOCHS) -> list[Row]:
    """One row.

    Raises:
        BenchmarkError: there are not two cores.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchmarkError("the overhead is measured with a core for each side, and there is one core only")
    spec = SPEC | {"training": SPEC["training"] | {"epochs": epochs}}
    rounds = []
    try:
        for ours, theirs in (allowed[:2], allowed[1::-1]):
            rounds.append(_round(spec, ours, theirs))
            say(f"service {rounds[-1][0]:.1f} s, library {rounds[-1][1]:.1f} s")
    finally:
        os.sched_setaffinity(0, allowed)
    through, called = (sum(times) for times in zip(*rounds, strict=True))
    seconds = [{"service": round(one[0], 2), "library": round(one[1], 2)} for one in rounds]
    what = "a job through the service over the same training as a library call"
    value = 100 * (through / called - 1)
    return [row("overhead", place.POSTGRESQL, what, value, "%", most=_MOST_PERCENT, seconds=seconds, spec=spec)]


def _round(spec: dict[str, Any], ours: int, theirs: int) -> tuple[float, float]:
    """Seconds of the service on core ``ours``, and of the library on core ``theirs``."""
    os.sched_setaffinity(0, {ours})  # inherited by every server that is started here
    with place.service(place.POSTGRESQL) as service:
        service.api()
        service.worker()
        path = service.settings.data_dir / "spec.json"
        path.write_text(json.dumps(spec))
        seconds: list[float] = []
        library = threading.Thread(target=lambda: seconds.append(_library(str(path), theirs)))
        library.start()
        through = _submit(service, spec)
        library.join()
    if not seconds:
        raise BenchmarkError("the library's training failed")
    return through, seconds[0]


def _library(path: str, core: int) -> float:
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.service.library", path]
    begin = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.monotonic() - begin


def _submit(service: place.Service, spec: dict[str, Any]) -> float:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    request = urllib.request.Request(  # noqa: S310 - our own URL
        f"{service.url}/v1/jobs",
        json.dumps(spec).encode(),
        {"Authorization": f"Bearer {service.key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        job_id = json.load(answer)["id"]
    while time.monotonic() < deadline:
        with service.store.read() as connection:
            job = jobs.get(connection, job_id)
        if job.state.terminal:
            break
        time.sleep(_LOOK_SECONDS)
    if job.state != "succeeded":
        raise BenchmarkError(f"the job is {job.state}: {job.error}")
    assert job.finished_at is not None
    return (job.finished_at - job.created_at).total_seconds()
