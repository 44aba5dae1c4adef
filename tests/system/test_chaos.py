"""The nemesis for a short while (``make chaos``: for long), and the judge that it relies on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, update

from jobs import artifacts, events, lease
from jobs.records import Job
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import events as event_table
from jobs.tables import jobs as table
from tests.jobs.helpers import claim, get, submit
from tests.system.chaos.history import judge
from tests.system.chaos.hosts import why_not
from tests.system.chaos.schedule import Kind, schedule

ROOT = Path(__file__).parents[2]
WEIGHTS = b"the weights"


@pytest.mark.slow
def test_jobs_come_through_every_kind_of_fault_with_the_weights_of_a_calm_run() -> None:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    arguments = ["--database", "postgresql", "--jobs", "6", "--faults", "13", "--seed", "5", "--json"]
    command = [sys.executable, "-m", "tests.system.chaos", *arguments]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    [report] = json.loads(run.stdout)
    print(f"{report['jobs']} jobs in {report['attempts']} attempts, {report['seconds']} s: {report['faults']}")
    assert (report["lost"], report["doubled"], report["mismatched"]) == (0, 0, 0)
    assert (report["jobs"], sum(report["faults"].values())) == (6, 13)


def test_a_seed_gives_the_same_faults_again_and_each_round_has_every_kind() -> None:
    first, again, other = (list(islice(schedule(seed, "postgresql", 3, 2.0), 26)) for seed in (1, 1, 2))
    assert first == again != other
    assert (
        {fault.kind for fault in first[:13]} == {fault.kind for fault in first[13:]} == set(Kind) - {Kind.LOCK_DATABASE}
    )


def finished(store: Store) -> tuple[dict[str, int], list[dict[str, str]]]:
    """A job that ended as it should, as the judge is told of it: accepted, and with these files."""
    job = submit(store)
    assert claim(store) is not None
    blob = store.blobs.put_stream([WEIGHTS])
    name = "weights.safetensors"
    with store.write() as connection:
        events.append(connection, job.id, 1, [("log", {"message": "at work"})])
        artifacts.add(connection, store.blobs, job.id, 1, blob, name=name, kind="weights")
        lease.succeed(connection, job.id, 1, {"artifacts": {name: {"kind": "weights", "sha256": blob.sha256}}})
    return {job.id: 0}, [{name: blob.sha256}]


def add_event(store: Store, job: Job, epoch: int) -> None:
    with store.write() as connection:
        row = {"job_id": job.id, "seq": job.next_seq, "type": "log", "epoch": epoch, "data": {}, "created_at": now()}
        connection.execute(insert(event_table).values(row))
        connection.execute(update(table).values(next_seq=job.next_seq + 1))


def drop_an_event(store: Store, job: Job) -> None:
    with store.write() as connection:
        connection.execute(delete(event_table).where(event_table.c.seq == 3))


def damage(store: Store, job: Job) -> None:
    with store.read() as connection:
        [row] = artifacts.list_artifacts(connection, job.id)
    store.blobs.path(row.sha256).write_bytes(b"other weights")


def lose(store: Store, job: Job) -> None:
    with store.write() as connection:
        connection.execute(update(table).values(state="running"))


def test_a_job_as_it_should_be_is_found_sound(store: Store) -> None:
    accepted, calm = finished(store)
    assert judge(store, accepted, calm, 0).sound


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lose, "lost"),
        (lambda store, job: submit(store), "doubled"),
        (lambda store, job: add_event(store, job, 1), "doubled"),  # after its end
        (lambda store, job: add_event(store, job, 2), "doubled"),
        (drop_an_event, "mismatched"),
        (damage, "mismatched"),
    ],
)
def test_the_judge_finds_what_is_wrong(store: Store, wrong: Callable[[Store, Job], object], found: str) -> None:
    accepted, calm = finished(store)
    wrong(store, get(store, next(iter(accepted))))
    assert getattr(judge(store, accepted, calm, 0), found)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_judge_compares_weights_and_misses_jobs(store: Store) -> None:
    accepted, _ = finished(store)
    verdict = judge(store, accepted | {"job_gone": 0}, [{"weights.safetensors": "0" * 64}], 0)
    assert len(verdict.mismatched) == 1
    assert any("job_gone" in line for line in verdict.lost)
