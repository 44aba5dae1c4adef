"""Metric points per second into PostgreSQL: a worker's recording path beside an MLflow tracking server.

Both take the same points: the three figures of each training step (loss, learning rate, images per second).

- Ours: what a worker does with the lines of a child: parse, sum up, and write them in batches of 500 steps, each a
  transaction that is fenced by the lease, renews the job's progress and adds one row per step to its log.
- MLflow: ``POST /api/2.0/mlflow/runs/log-batch`` with 1,000 points each, the most that it takes, over kept connections
  to a server with as many processes as there are cores; the best of one, two and four clients at a time counts.

Not the same: ours is recorded where it arises, MLflow is spoken to over HTTP, which is how either is used by a job.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cli import say
from benchmarks.errors import BenchmarkError
from benchmarks.results import Row
from benchmarks.service import place
from benchmarks.service.figures import row
from benchmarks.service.http import Connection
from benchmarks.service.seeds import fill, new_keys
from fqt_core.events import StepDone
from jobs import lease
from worker.journal import Journal
from worker.protocol import parse_message
from worker.recorder import Recorder

_STEPS, _REPEATS = 10_000, 3
_FIGURES = ("loss", "learning_rate", "images_per_second")
_BATCH, _POINTS_PER_REQUEST = 500, 1000
_CLIENTS = (1, 2, 4)
_START_SECONDS = 120.0
API = "/api/2.0/mlflow/"


def measure() -> list[Row]:
    """Rows of both, and their ratio."""
    steps = [
        StepDone(step=at, epoch=at / 100, loss=1 / at, learning_rate=1e-3, images_per_second=1000.0 + at % 7)
        for at in range(1, _STEPS + 1)
    ]
    ours: list[float] = []
    theirs: dict[int, list[float]] = {}
    with (
        place.folder() as folder,
        place.database(place.POSTGRESQL, folder) as url,
        mlflow(place.another(url), folder) as port,
    ):
        for _ in range(_REPEATS):  # in turns, so that whatever else the machine does meets both
            ours.append(_record(folder, place.another(url), steps))
            for clients in _CLIENTS:
                theirs.setdefault(clients, []).append(asyncio.run(_log(port, steps, clients)))
    points = _STEPS * len(_FIGURES)
    best = max(max(rates) for rates in theirs.values())
    rates = {f"{clients} clients": [round(rate) for rate in found] for clients, found in theirs.items()}
    say(f"points per second: ours {ours}, MLflow {rates}")
    shared = {"points": points, "repeats": _REPEATS}
    return [
        row("ingestion", place.POSTGRESQL, "metric points recorded by a worker", max(ours), "points/s", **shared),
        row("ingestion", place.POSTGRESQL, "metric points logged to MLflow", best, "points/s", **shared, rates=rates),
        row("ingestion", place.POSTGRESQL, "ours over MLflow", max(ours) / best, "x", least=min(ours) / best),
    ]


def _record(folder: Path, url: str, steps: list[StepDone]) -> float:
    """Points per second of our recording path, for one job."""
    store = place.opened(folder, url)
    fill(store, 1, new_keys(store, 1))
    with store.write() as connection:
        job = lease.claim(connection, ["cpu"], "benchmark", 3600)
    assert job is not None, "the job waits"
    lines = [step.model_dump_json().encode() for step in steps]
    recorder = Recorder(store, job, Journal(store, job, threading.Event()), folder)
    begin = time.perf_counter()
    for first in range(0, len(lines), _BATCH):
        recorder.take([parse_message(line) for line in lines[first : first + _BATCH]])
    seconds = time.perf_counter() - begin
    store.close()
    return len(steps) * len(_FIGURES) / seconds


async def _log(port: int, steps: list[StepDone], clients: int) -> float:
    """Points per second of MLflow, with so many clients at a time, each with a run of its own."""
    points = [
        {"key": name, "value": getattr(step, name), "timestamp": 1_700_000_000_000 + step.step, "step": step.step}
        for step in steps
        for name in _FIGURES
    ]
    requests = [points[first : first + _POINTS_PER_REQUEST] for first in range(0, len(points), _POINTS_PER_REQUEST)]
    connections = [Connection(port, {}) for _ in range(clients)]
    runs = [await _ask(connection, "runs/create", {"experiment_id": "0"}) for connection in connections]
    bodies = [
        [
            json.dumps({"run_id": run["run"]["info"]["run_id"], "metrics": part}).encode()
            for part in requests[at::clients]
        ]
        for at, run in enumerate(runs)
    ]

    async def send(connection: Connection, mine: list[bytes]) -> None:
        for body in mine:
            status, answer = await connection.post(f"{API}runs/log-batch", body, {})
            if status != 200:
                raise BenchmarkError(f"MLflow answers with {status}: {answer[:200].decode(errors='replace')}")

    begin = time.perf_counter()
    await asyncio.gather(*(send(connection, mine) for connection, mine in zip(connections, bodies, strict=True)))
    seconds = time.perf_counter() - begin
    for connection in connections:
        connection.close()
    return len(points) / seconds


async def _ask(connection: Connection, path: str, body: dict[str, str]) -> dict[str, dict[str, dict[str, str]]]:
    status, answer = await connection.post(API + path, json.dumps(body).encode(), {})
    if status != 200:
        raise BenchmarkError(f"MLflow answers with {status}: {answer[:200].decode(errors='replace')}")
    return json.loads(answer)  # type: ignore[no-any-return]


@contextmanager
def mlflow(url: str, folder: Path) -> Iterator[int]:
    """The port of an MLflow tracking server on this database."""
    port, log = place.free_port(), folder / "mlflow.log"
    workers = len(os.sched_getaffinity(0))
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", url, "--no-serve-artifacts"),
        *("--default-artifact-root", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers)),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, env={**os.environ, **quiet}, stdout=output, stderr=output, cwd=folder)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines() or ["it wrote nothing"]
                raise BenchmarkError(f"the MLflow server does not start: {lines[-1]}")
            time.sleep(0.5)
        yield port
    finally:
        place.end([process])


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except OSError:
        return False
