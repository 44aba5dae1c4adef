"""``python -m benchmarks.compare``: 200 runs of 10,000 points side by side, beside MLflow on the same kind of database.

The question: what differs among the runs, what became of a metric in each, and its curve. Each side answers over HTTP,
on kept connections; the time is until the last byte is there.

- Ours: one ``POST /v1/compare``.
- MLflow, all points: ``runs/search``, then ``metrics/get-history`` of each run, as many at a time as there are cores.
- MLflow, thinned out: ``runs/search``, then ``metrics/get-history-bulk-interval`` as its own page asks, up to 320
  points of each of 100 runs at a time. It takes every so-manieth point, and no extremes.

All runs hold the points of a first one, which was recorded as either side records; they are copied within the database,
which has no part in what is measured. Logs are folded into columns (as the reaper does) before the questions, but for
the last one, where every run has reported as many steps since as a fold waits for.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import create_engine, insert, literal, select, text, update

from benchmarks import results
from benchmarks.cli import Parser, run, say
from benchmarks.errors import BenchmarkError
from benchmarks.machine import cpu_name
from benchmarks.service import place
from benchmarks.service.ingestion import API, mlflow
from benchmarks.service.seeds import SPEC, fill, new_keys
from benchmarks.table import markdown, put
from jobs import curves
from jobs import events as log
from jobs.compare import parameters_of
from jobs.store import Store
from jobs.tables import events, jobs

RUNS, POINTS, RUNNING_POINTS = 200, 10_000, 125
_THINNED = 100
_FIGURES = ("loss", "learning_rate", "images_per_second")
_REPEATS = 5
_PER_BATCH, _PER_BULK, _MOST_POINTS = 300, 100, 320
_AJAX = "/ajax-api/2.0/mlflow/"
_MOST_SECONDS = 1.0
_PATH = results.FOLDER / "compare.json"

BEGIN = "<!-- python -m benchmarks.compare: begin -->"
END = "<!-- python -m benchmarks.compare: end -->"

Ask = Callable[[], int]
"""Asks a question once; returns the bytes of the answer."""


class _Http:
    """Kept connections to one server, one per thread that asks."""

    def __init__(self, port: int, headers: dict[str, str]) -> None:
        self._port, self._headers = port, {"Content-Type": "application/json", **headers}
        self._idle: list[HTTPConnection] = []

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer's body."""
        content = None if body is None else json.dumps(body)
        while True:
            kept = bool(self._idle)
            connection = self._idle.pop() if kept else HTTPConnection("127.0.0.1", self._port, timeout=120)
            try:
                connection.request(method, path, content, self._headers)
                response = connection.getresponse()
                break
            except ConnectionError:  # the server gave up on a connection that was idle for long
                if not kept:
                    raise
        answer = response.read()
        if response.status != 200:
            raise BenchmarkError(f"{path} is answered with {response.status}: {answer[:200].decode(errors='replace')}")
        self._idle.append(connection)
        return answer


def measure(kind: str) -> list[results.Row]:
    """Rows of one database."""
    with place.service(kind) as service, _baseline(kind, service) as (searched, thinned, whole):
        job_ids, folded = _seed(service.store)
        say(f"{kind}: {RUNS} jobs of {POINTS:,} steps, folded in {folded:.1f} s")
        service.api()
        ours = _Http(service.settings.port, {"Authorization": f"Bearer {service.key}"})

        def asks(**body: Any) -> Ask:
            return lambda: len(ours.ask("POST", "/v1/compare", {"jobs": job_ids, **body}))

        one = asks(metrics=["loss"], points=_THINNED)
        times = _seconds({"ours": one}, _REPEATS) | _seconds(
            {"search": searched, "thinned": thinned, "whole": whole}, 1
        )
        rows = [
            _row(kind, "one metric: what differs, extremes, curves of 100 points", times["ours"])
            | _beside(times["ours"], "mlflow_thinned_seconds", times["thinned"])
            | _beside(times["ours"], "mlflow_all_points_seconds", times["whole"])
        ]
        others: dict[str, dict[str, Any]] = {
            "one metric, every point": {"metrics": ["loss"], "points": POINTS},
            "all metrics, curves of 100 points": {"points": _THINNED},
            "all metrics, by time": {"points": _THINNED, "align": "time"},
        }
        for title, body in others.items():
            rows.append(_row(kind, title, _seconds({"ours": asks(**body)}, _REPEATS)["ours"]))
        _run_on(service.store, job_ids)
        title = f"one metric, of runs that go on: {RUNNING_POINTS} steps of each not folded yet"
        rows.append(_row(kind, title, _seconds({"ours": one}, _REPEATS)["ours"]))
    for row in rows:
        row["fold_events_per_second"] = round(RUNS * POINTS / folded)
    return rows


def _row(kind: str, question: str, seconds: Sequence[float]) -> results.Row:
    say(f"{kind}, {question}: {median(seconds):.3f} s")
    return {
        "question": question,
        "database": kind,
        "runs": RUNS,
        "points": POINTS,
        "seconds": round(median(seconds), 4),
        "slowest": round(max(seconds), 4),
        "most": _MOST_SECONDS,
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
    }


def _beside(ours: Sequence[float], name: str, theirs: Sequence[float]) -> results.Row:
    say(f"{name}: {median(theirs):.2f}")
    return {name: round(median(theirs), 3), f"{name.removesuffix('_seconds')}_ratio": median(theirs) / median(ours)}


def _seconds(asks: dict[str, Ask], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, asked so often; before, one time to warm up, but for what is asked once as it takes so long."""
    found: dict[str, list[float]] = {name: [] for name in asks}
    for name, ask in asks.items():
        for repeat in range(repeats + (repeats > 1)):
            begin = time.perf_counter()
            ask()
            if repeat or repeats == 1:
                found[name].append(time.perf_counter() - begin)
    return found


def _report(step: int) -> dict[str, Any]:
    chance = random.Random(step)  # noqa: S311 - no secret
    loss, speed = chance.random() + 1 / step, 1000 + chance.random()
    return {"step": step, "epoch": step / 100, "loss": loss, "learning_rate": 1e-3 / step, "images_per_second": speed}


def _seed(store: Store) -> tuple[list[str], float]:
    """Ids of the jobs, and the seconds that folding them took."""
    keys = new_keys(store, 1)
    leased = datetime.now(UTC) + timedelta(days=1)  # nobody takes them back meanwhile
    job_ids = fill(store, RUNS, keys, state="running", lease_epoch=1, lease_expires_at=leased)
    reports: list[Any] = [("metric", {"kind": "step", **_report(step)}) for step in range(1, POINTS + 1)]
    with store.write() as connection:
        log.append(connection, job_ids[0], 1, [("state", {"from": "queued", "to": "running", "reason": "claimed"})])
        for first in range(0, POINTS, 500):
            log.append(connection, job_ids[0], 1, reports[first : first + 500])
        spec = connection.execute(select(jobs.c.spec).where(jobs.c.id == job_ids[0])).scalar_one()
    for number, job_id in enumerate(job_ids):
        changed = spec | {"training": spec["training"] | {"learning_rate": (1 + number) / 1000, "seed": number}}
        with store.write() as connection:
            if number:
                _copy_events(connection, job_ids[0], job_id)
            values = {"spec": changed, "name": f"run {number}", "next_seq": POINTS + 3}
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    begin = time.perf_counter()
    for job_id in job_ids:
        while curves.fold(store, job_id):
            pass
    return job_ids, time.perf_counter() - begin


def _copy_events(connection: Any, source: str, target: str) -> None:
    others = [column for column in events.c if column.name != "job_id"]
    rows = select(literal(target), *others).where(events.c.job_id == source, events.c.seq > 1)
    connection.execute(insert(events).from_select(["job_id", *(column.name for column in others)], rows))


def _run_on(store: Store, job_ids: Sequence[str]) -> None:
    steps = range(POINTS + 1, POINTS + 1 + RUNNING_POINTS)
    reports: list[Any] = [("metric", {"kind": "step", **_report(step)}) for step in steps]
    for job_id in job_ids:
        with store.write() as connection:
            log.append(connection, job_id, 1, reports)


@contextmanager
def _baseline(kind: str, service: place.Service) -> Iterator[tuple[Ask, Ask, Ask]]:
    """What MLflow is asked: the runs alone; with curves as its page has them; with all points."""
    with place.folder() as folder:
        url = f"sqlite:///{folder / 'mlflow.db'}" if kind == place.SQLITE else place.another(service.settings.url)
        with mlflow(url, folder) as port, ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            server = _Http(port, {})
            runs = _seed_baseline(server, url)
            say(f"{kind}: {len(runs)} runs of {POINTS:,} steps in MLflow")

            def search() -> int:
                found = server.ask("POST", f"{API}runs/search", {"experiment_ids": ["0"], "max_results": RUNS})
                if found.count(b'"run_uuid"') != RUNS:
                    raise BenchmarkError("MLflow does not find every run")
                return len(found)

            def history(run_id: str) -> int:
                query = urllib.parse.urlencode({"run_id": run_id, "metric_key": "loss"})
                return len(server.ask("GET", f"{API}metrics/get-history?{query}"))

            def bulk(part: Sequence[str]) -> int:
                query = urllib.parse.urlencode(
                    {"run_ids": part, "metric_key": "loss", "max_results": _MOST_POINTS}, doseq=True
                )
                return len(server.ask("GET", f"{_AJAX}metrics/get-history-bulk-interval?{query}"))

            parts = [runs[first : first + _PER_BULK] for first in range(0, RUNS, _PER_BULK)]
            yield search, lambda: search() + sum(pool.map(bulk, parts)), lambda: search() + sum(pool.map(history, runs))


def _seed_baseline(server: _Http, url: str) -> list[str]:
    """Ids of MLflow's runs, with our parameters, and points that are logged to the first and copied to the others."""
    made = [json.loads(server.ask("POST", f"{API}runs/create", {"experiment_id": "0"})) for _ in range(RUNS)]
    runs = [answer["run"]["info"]["run_id"] for answer in made]
    params = [{"key": name, "value": str(value)} for name, value in parameters_of(SPEC).items()]
    server.ask("POST", f"{API}runs/log-batch", {"run_id": runs[0], "params": params})
    for first in range(1, POINTS + 1, _PER_BATCH):
        metrics = [
            {"key": name, "value": report[name], "timestamp": 1_700_000_000_000 + step, "step": step}
            for step in range(first, min(first + _PER_BATCH, POINTS + 1))
            for report in [_report(step)]
            for name in _FIGURES
        ]
        server.ask("POST", f"{API}runs/log-batch", {"run_id": runs[0], "metrics": metrics})
    engine = create_engine(url)
    copied = {"params": "key, value"} | dict.fromkeys(
        ("metrics", "latest_metrics"), "key, value, timestamp, step, is_nan"
    )
    changed = text("UPDATE params SET value = :rate WHERE run_uuid = :new AND key = 'training.learning_rate'")
    with engine.begin() as connection:
        for number, run_id in enumerate(runs[1:], 1):
            for table, columns in copied.items():
                rows = f"SELECT :new, {columns} FROM {table} WHERE run_uuid = :old"  # noqa: S608 - names from above
                copy = text(f"INSERT INTO {table} (run_uuid, {columns}) {rows}")
                connection.execute(copy, {"new": run_id, "old": runs[0]})
            connection.execute(changed, {"new": run_id, "rate": str((1 + number) / 1000)})
    engine.dispose()
    return runs


def render(rows: Sequence[results.Row]) -> str:
    """The table."""

    def theirs(row: results.Row, name: str) -> str:
        if f"{name}_seconds" not in row:
            return "–"
        return f"{row[f'{name}_seconds']:.2f} s ({row[f'{name}_ratio']:.0f} x)"

    cells = [
        (
            row["question"],
            row["database"],
            f"{row['seconds']:.3f} s",
            theirs(row, "mlflow_thinned"),
            theirs(row, "mlflow_all_points"),
        )
        for row in rows
    ]
    heads = ("question", "database", "ours", "MLflow, every so-manieth point", "MLflow, all points")
    return markdown(heads, cells, 2)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.compare", description="Compare 200 runs of 10,000 points, beside MLflow.")
    kinds = (place.SQLITE, place.POSTGRESQL)
    parser.add_argument("--database", action="append", choices=kinds, help="on this one only; again for more")
    parser.add_argument(
        "--json", type=Path, default=_PATH, help=f"file to write (default: {_PATH.name} of the results)"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="put the table between this page's markers")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. With ``--database`` the file keeps the rows of the other one."""
    given = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what ends the servers
    kept = results.read([given.json]) if given.json.exists() else []
    for kind in given.database or (place.SQLITE, place.POSTGRESQL):
        kept = [row for row in kept if row["database"] != kind] + measure(kind)
        results.write(given.json, sorted(kept, key=lambda row: str(row["database"]), reverse=True))
    table = render(results.read([given.json]))
    if given.write is not None:
        put(given.write, table, begin=BEGIN, end=END)
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    run("benchmarks.compare", main)
