"""What the service adds to a training: the same job through the service and called as a library, side by side.

Both have one core between them, at the same time: all of the service (API, worker, PostgreSQL, broker, training
child), and a process that trains the same spec with :mod:`benchmarks.service.library`. So whatever a shared host gives that core
and takes from it, both are given and taken: one after the other, or on a core each, the same training takes 5 % longer
or shorter from one time to the next. Compared is what each would take of the core if it had it for itself: the time
that its processes compute, and the time that its training waits for anything else than the core (the disk, above all).
That the service may compute while its training waits is not taken off. The service counts from the submission until the
job has succeeded, the library from the start of its process to its end. The service has run a job of one epoch before,
as one that is in use has: what its processes load once is no part of each job.
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
from benchmarks.service.core import Waiting, computed, held
from benchmarks.service.figures import row
from benchmarks.service.seeds import SPEC
from jobs import jobs

_EPOCHS = 150
_PATIENCE_SECONDS = 900.0
_LOOK_SECONDS = 2.0
_MOST_PERCENT = 3.0
_LIBRARY = "benchmarks.service.library"


def measure(epochs: int = _EPOCHS) -> list[Row]:
    """One row.

    Raises:
        BenchmarkError: the job did not succeed, or there is one core only.
    """
    spec = SPEC | {"training": SPEC["training"] | {"epochs": epochs}}
    allowed = os.sched_getaffinity(0)
    core, *others = sorted(allowed)
    if not others:
        raise BenchmarkError("a second core is needed, to look from at what the first one does")
    os.sched_setaffinity(0, {core})  # of this thread, and so of all that it starts
    try:
        with place.service(place.POSTGRESQL) as service:
            service.api()
            service.worker()
            _submit(service, SPEC | {"training": SPEC["training"] | {"epochs": 1}})
            sides = _side_by_side(service, spec, core, others[0])
    finally:
        os.sched_setaffinity(0, allowed)
    for side, took in sides.items():
        say(f"{side}: {took['computed']:.1f} s of the core, {took['waited']:.1f} s of waiting")
    through, called = (sum(sides[side].values()) for side in ("service", "library"))
    what = "a job through the service over the same training as a library call"
    value = 100 * (through / called - 1)
    return [row("overhead", place.POSTGRESQL, what, value, "%", most=_MOST_PERCENT, seconds=sides, spec=spec)]


def _side_by_side(service: place.Service, spec: dict[str, Any], core: int, other: int) -> dict[str, dict[str, float]]:
    """What each side takes, in seconds. They begin together."""
    own = {os.getpid()}
    with (
        tempfile.TemporaryDirectory(prefix="fqt-bench-") as folder,
        Waiting("worker.child", core, other) as training,
        Waiting(_LIBRARY, core, other) as calling,
    ):
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec))
        before = computed(held(core) - own)
        # At the child's own priority, so that neither is through long before the other.
        command = ["nice", "-n", str(service.settings.child_nice), sys.executable, "-m", _LIBRARY, str(path)]
        with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) as library:
            _submit(service, spec)
            through = computed(held(core) - own - {library.pid}) - before
            _, status, called = os.wait4(library.pid, 0)
            library.returncode = os.waitstatus_to_exitcode(status)
        if library.returncode:
            raise BenchmarkError(f"the library call ended with exit code {library.returncode}")
    sides = {
        "service": {"computed": through, "waited": training.seconds},
        "library": {"computed": called.ru_utime + called.ru_stime, "waited": calling.seconds},
    }
    return {side: {name: round(value, 2) for name, value in took.items()} for side, took in sides.items()}


def _submit(service: place.Service, spec: dict[str, Any]) -> None:
    """Have a job run to its end."""
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
