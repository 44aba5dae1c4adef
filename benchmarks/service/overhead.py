"""What the service adds to a training: the same job through the service and called as a library, by turns.

On one side is all of the service (API, worker, PostgreSQL, broker, training child), on the other a process that trains
the same spec with :mod:`benchmarks.service.library`, at the niceness of the service's children and with as many threads
as the job takes: results depend on their number, so that with another it is not the same training. Every few seconds
one side is stopped (SIGSTOP) and the other goes on, so that both see the same weather: one after the other, the same
training takes 5 % longer or shorter from one time to the next on a shared host. The service is timed from the
submission until the job has succeeded, by its rows, the library from the start of its process to its end; while a side
is stopped its time stands still. The service has run a job of one epoch before and has come to rest, as one that is in
use has. Nothing else should run meanwhile.

Measured twice: with all cores of the machine, as a service has them by itself, and with everything on one core.
"""

from __future__ import annotations

import json
import os
import signal
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
from benchmarks.service.turns import go_on, rest, stop
from fqt_core.config.malloc import for_training
from jobs import jobs
from jobs.records import Job

_EPOCHS = 200
_TURN_SECONDS = 6.0
_MOST_PERCENT = 3.0


def measure(epochs: int = _EPOCHS) -> list[Row]:
    """A row for all cores, and one for one core.

    Raises:
        BenchmarkError: the job did not succeed.
    """
    spec = SPEC | {"training": SPEC["training"] | {"epochs": epochs}}
    allowed = os.sched_getaffinity(0)
    what = "a job through the service over the same training as a library call"
    rows = []
    for cores, where in ((allowed, "all cores"), ({min(allowed)}, "one core")):
        try:
            os.sched_setaffinity(0, cores)  # of this thread, and so of all that it starts
            with place.service(place.POSTGRESQL, threads=len(cores)) as service:
                service.api()
                service.worker()
                turns = _Turns(service)
                threads = turns.warm_up()
                seconds = turns.take(spec, threads)
        finally:
            os.sched_setaffinity(0, allowed)
        for side, took in seconds.items():
            say(f"{where}, {side}: {took:.1f} s")
        value = 100 * (seconds["service"] / seconds["library"] - 1)
        details = {"seconds": seconds, "spec": spec, "cores": len(cores), "threads": threads}
        rows.append(row("overhead", place.POSTGRESQL, f"{what}, {where}", value, "%", most=_MOST_PERCENT, **details))
    return rows


class _Turns:
    """The two sides, of which one runs at any moment."""

    def __init__(self, service: place.Service) -> None:
        self._service = service
        self._folder = service.settings.data_dir.parent

    def warm_up(self) -> int:
        """Have the service run a short job, and come to rest; returns the number of threads that the job took.

        Raises:
            BenchmarkError: the job did not succeed.
        """
        job = self._submit(SPEC | {"training": SPEC["training"] | {"epochs": 1}})
        while not job.state.terminal:
            time.sleep(_TURN_SECONDS)
            job = self._look(job.id)
        rest(self._folder)
        if job.state != "succeeded" or job.record is None:
            raise BenchmarkError(f"the job is {job.state}: {job.error}")
        return int(job.record["threads"])

    def take(self, spec: dict[str, Any], threads: int) -> dict[str, float]:
        """Seconds that each side takes for the spec, without those for which it was stopped.

        Args:
            spec: what the job is to do.
            threads: of the library's side.

        Raises:
            BenchmarkError: the job did not succeed, or the library call did not.
        """
        with tempfile.TemporaryDirectory(prefix="fqt-bench-") as folder:
            path = Path(folder) / "spec.json"
            path.write_text(json.dumps(spec))
            job, stood = self._submit(spec), 0.0
            with _Library(path, threads, nice=self._service.settings.child_nice) as library:
                while not job.state.terminal:
                    time.sleep(_TURN_SECONDS)
                    job = self._look(job.id)
                    stopped = stop(self._folder, {library.pid})
                    begin = time.monotonic()
                    library.turn(None if job.state.terminal else _TURN_SECONDS)
                    stood += 0.0 if job.state.terminal else time.monotonic() - begin
                    go_on(stopped)
            if job.state != "succeeded":
                raise BenchmarkError(f"the job is {job.state}: {job.error}")
            assert job.finished_at is not None
            through = (job.finished_at - job.created_at).total_seconds() - stood
            return {"service": round(through, 2), "library": round(library.seconds, 2)}

    def _submit(self, spec: dict[str, Any]) -> Job:
        request = urllib.request.Request(  # noqa: S310 - our own URL
            f"{self._service.url}/v1/jobs",
            json.dumps(spec).encode(),
            {"Authorization": f"Bearer {self._service.key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return self._look(json.load(answer)["id"])

    def _look(self, job_id: str) -> Job:
        with self._service.store.read() as connection:
            return jobs.get(connection, job_id)


class _Library:
    """The process that trains without the service, in its turns only. A context manager: in the end it is gone."""

    def __init__(self, spec: Path, threads: int, *, nice: int) -> None:
        command = [sys.executable, "-m", "benchmarks.service.library", str(spec), "--threads", str(threads)]
        begin = time.monotonic()
        # Memory is as that of the service's processes is.
        environment = for_training({**os.environ, "OMP_NUM_THREADS": str(threads)})
        self._process = subprocess.Popen(["nice", "-n", str(nice), *command], env=environment)
        self._process.send_signal(signal.SIGSTOP)
        self.pid = self._process.pid
        self.seconds = time.monotonic() - begin

    def __enter__(self) -> _Library:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def turn(self, most: float | None) -> None:
        """Let it run for so many seconds, or to its end (``None``, or when that comes sooner).

        Raises:
            BenchmarkError: it failed.
        """
        if self._process.returncode is not None:
            return
        begin = time.monotonic()
        self._process.send_signal(signal.SIGCONT)
        try:
            code = self._process.wait(most)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGSTOP)
        else:
            if code:
                raise BenchmarkError(f"the library call ended with exit code {code}")
        self.seconds += time.monotonic() - begin
