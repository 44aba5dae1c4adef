"""The table through the service: ``python -m benchmarks.accuracy.service FILE…``.

Starts ``fqt up`` with one thread per job, submits what the files' chosen runs were as jobs over REST (data uploaded,
pre-training as a job of its own), downloads each model, and tells whether its weights are those of the library, byte
for byte, and what it gets right of the test images. Both are written into the files: ``job_same_weights`` and
``job_test`` of each row that has a ``test``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import results
from benchmarks.accuracy import table
from benchmarks.accuracy.comparison import Comparison, Trial, test_accuracy
from benchmarks.accuracy.points import chosen
from benchmarks.accuracy.protocols import PROTOCOLS
from benchmarks.accuracy.runs import Run
from benchmarks.cli import Parser, number, run, tell_progress
from benchmarks.errors import BenchmarkError
from benchmarks.pipes import ROOT
from benchmarks.results import Row
from fqt_client import Client, FqtClientError


@contextmanager
def service(home: Path, slots: int) -> Iterator[Client]:
    """A client of a service of its own, that keeps everything in ``home``.

    Raises:
        BenchmarkError: it does not start.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FQT_", "XDG_"))}
    log = home / "service.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "fqt_client", "up", "--json", "--port", "0", "--slots", str(slots)],
            env=kept | {"HOME": str(home), "FQT_THREADS": str(slots)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            assert process.stdout is not None
            ready = next((told for told in map(json.loads, process.stdout) if told["event"] == "ready"), None)
            if ready is None:
                raise BenchmarkError(f"`fqt up` does not start: {(log.read_text().splitlines() or ['no word'])[-1]}")
            with Client(ready["url"], json.loads(Path(ready["config"]).read_text())["api_key"]) as client:
                yield client
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate()


class Jobs:
    """Runs as jobs; data and runs that are there already are used again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._datasets: dict[Path, str] = {}
        self._jobs: dict[str, str] = {}

    def submit(self, one: Run) -> str:
        """Submit a run, what it starts from before it; give the job's id."""
        if one.digest not in self._jobs:
            start = self.submit(one.start) if one.start is not None else None
            if start is not None:
                self._client.jobs.wait(start)
            if one.data not in self._datasets:
                self._datasets[one.data] = self._client.datasets.upload(one.data).id
            self._jobs[one.digest] = self._client.jobs.submit(
                self._datasets[one.data],
                architecture=one.architecture.model_dump(mode="json"),
                method=one.method.model_dump(mode="json"),
                training=one.training.model_dump(mode="json"),
                classes=one.classes,
                initial_weights=start,
                device="cpu",
            ).id
        return self._jobs[one.digest]

    def finish(self, trial: Trial, row: Row, folder: Path) -> None:
        """Wait for a run's job, and write what came of it into its row."""
        job = self._client.jobs.wait(self.submit(trial.run)).id
        model = self._client.jobs.download(job, "model", folder / f"{job}.safetensors")
        row["job_same_weights"] = self._client.jobs.artifact(job, "weights").sha256 == row["weights_sha256"]
        row["job_test"] = test_accuracy(model, trial.test)


def _trials(rows: Sequence[Row], root: Path) -> list[tuple[Trial, Row]]:
    """The chosen runs of some rows."""
    found: list[tuple[Trial, Row]] = []
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        mine = {(*_key(row), row["seed"]): row for row in rows if row["protocol"] == protocol and row["test"]}
        nets = dict.fromkeys(net for net, *_ in mine)
        points = chosen(",".join(dict.fromkeys(method for _, method, *_ in mine)))
        seeds = 1 + max(seed for *_, seed in mine)
        comparison = Comparison(PROTOCOLS[protocol], [*nets], points, seeds, root / protocol)
        found += [(t, mine[*t.key, t.seed]) for t in comparison.trials if (*t.key, t.seed) in mine]
    return found


def _key(row: Row) -> tuple[str, str, float]:
    return row["net"], row["method"], row["learning_rate"]


def repeat(rows: Sequence[Row], root: Path, slots: int) -> None:
    """Run all chosen runs as jobs, and write what came of them into their rows.

    Raises:
        BenchmarkError: the service does not start, or a job fails.
    """
    trials = _trials(rows, root)
    home = root / "service"  # what it kept and said stays there until the next time
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    with service(home, slots) as client:
        jobs, begin = Jobs(client), time.monotonic()
        try:
            for trial, _ in trials:
                jobs.submit(trial.run)
            for count, (trial, row) in enumerate(trials, start=1):
                jobs.finish(trial, row, home)
                tell_progress("jobs", count, len(trials), time.monotonic() - begin)
        except FqtClientError as error:
            raise BenchmarkError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = Parser(prog="benchmarks.accuracy.service", description="Repeat chosen runs as jobs of a service.")
    parser.add_argument("files", nargs="+", type=Path, help="files of benchmarks.accuracy; they are written anew")
    parser.add_argument("--slots", type=number, default=1, help="jobs at the same time")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "accuracy", help="folder of the data")
    given: argparse.Namespace = parser.parse_args(arguments)
    for file in given.files:
        rows = results.of_accuracy(results.read([file]))
        repeat(rows, given.work, given.slots)
        results.write(file, rows)
        sys.stdout.write(table.render(rows) + "\n")


if __name__ == "__main__":
    run("benchmarks.accuracy.service", main)
