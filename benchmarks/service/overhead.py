"""What the service adds to a training: the same job through the service and called as a library, on the same core.

All of the service (API, worker, PostgreSQL, broker, training child) has one core, and so has the process that trains
the same spec with :mod:`benchmarks.service.library`. They run one after the other, in the order service, library,
library, service: at the same time, on a core each, whatever else the machine does would go to the one that waits for a
disk now and then. The service is timed from the submission until the job has succeeded, by its rows (whoever looks
again and again takes time of that core), the library from the start of its process to its end. The service has run a
job of one epoch before, as one that is in use has: what its processes load once is no part of each job.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
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
        BenchmarkError: the job did not succeed.
    """
    allowed = os.sched_getaffinity(0)
    spec = SPEC | {"training": SPEC["training"] | {"epochs": epochs}}
    sides = {"service": _through_the_service, "library": _as_a_library}
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    os.sched_setaffinity(0, {min(allowed)})  # inherited by everything that is started here
    try:
        for side in ("service", "library", "library", "service"):
            seconds[side].append(round(sides[side](spec), 2))
            say(f"{side}: {seconds[side][-1]:.1f} s")
    finally:
        os.sched_setaffinity(0, allowed)
    through, called = sum(seconds["service"]), sum(seconds["library"])
    what = "a job through the service over the same training as a library call"
    value = 100 * (through / called - 1)
    return [row("overhead", place.POSTGRESQL, what, value, "%", most=_MOST_PERCENT, seconds=seconds, spec=spec)]


def _through_the_service(spec: dict[str, Any]) -> float:
    with place.service(place.POSTGRESQL) as service:
        service.api()
        service.worker()
        _submit(service, SPEC | {"training": SPEC["training"] | {"epochs": 1}})
        return _submit(service, spec)


def _as_a_library(spec: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory(prefix="fqt-bench-") as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec))
        begin = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.service.library", str(path)]
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
