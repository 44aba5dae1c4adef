"""A supervisor is killed (SIGKILL) just before or after each of its commits: the job comes through all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import update

from jobs import artifacts, models
from jobs.audit import audit
from jobs.reaper import Reaper
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import get, submit
from tests.jobs.test_reaper import Bell
from tests.worker.doomed import CHILD
from tests.worker.helpers import chain, log, moves
from worker.slots import Slots

ROOT = Path(__file__).parents[2]
# No heartbeat falls into so short a run: then the commits are those of the supervisor.
PATIENT = {"lease_seconds": 3600, "heartbeat_seconds": 600, "watch_seconds": 30, "retry_backoff_seconds": 0}
MOST = 40


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=database_url, **PATIENT)


@pytest.fixture
def doomed(settings: Settings, database_url: str) -> Iterator[Callable[[int, bool], int]]:
    """Runs a supervisor that is killed at the commit of that number; returns its exit code (0: it made fewer)."""
    plain = {"data_dir": str(settings.data_dir), "database_url": database_url, **PATIENT}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.worker.doomed"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(commit: int, after: bool) -> int:
            process.stdin.write(json.dumps({"settings": plain, "commit": commit, "after": after}) + "\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        yield run
        process.stdin.close()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_every_commit_of_the_supervisor_loses_and_doubles_nothing(
    store: Store, doomed: Callable[[int, bool], int], after: bool
) -> None:
    reaper = Reaper(store, Bell())
    for number in range(1, MOST):
        job = submit(store)
        code = doomed(number, after)
        assert code in {0, -9}, code
        with store.write() as connection:
            held = table.c.lease_owner.is_not(None)
            connection.execute(update(table).where(held).values(lease_expires_at=now(-1)))
        reaper.run_once()
        Slots(store, threading.Event(), CHILD).work()
        _is_whole(store, job.id)
        if code == 0:
            break
    assert 6 < number < MOST  # claim, events, two checkpoints, the result's file, the end
    found = audit(store)
    assert found.sound, found
    assert store.settings.data_dir.joinpath("work").is_dir()


def _is_whole(store: Store, job_id: str) -> None:
    job, events = get(store, job_id), log(store, job_id)
    assert job.state == "succeeded", (job.state, job.error, moves(store, job_id))
    assert [event.seq for event in events] == list(range(1, job.next_seq))
    assert moves(store, job_id).count("succeeded") == 1
    assert all(earlier.epoch <= later.epoch for earlier, later in pairwise(events))
    assert job.lease_epoch <= 2
    with store.read() as connection:
        [card, model] = artifacts.list_artifacts(connection, job_id)
        [row] = models.list_models(connection, organisation=job.organisation_id, job_id=job_id).data
    assert store.blobs.verify(model.sha256).read_bytes() == chain(2)
    assert job.result is not None
    assert job.result["artifacts"]["model.safetensors"]["sha256"] == model.sha256
    assert (row.id, row.sha256) == (job.result["model"], model.sha256)
    assert row.id.encode() in store.blobs.verify(card.sha256).read_bytes()
