"""Whatever interrupts a job, its result is that of one that nothing interrupted, bit for bit. Real training."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from jobs import jobs
from jobs.reaper import Reaper
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import get, submit
from tests.worker.helpers import QUICK, log, moves, pause, reached, step, until
from tests.worker.processes import REAL, Process
from tests.worker.test_child import digests, images
from worker.slots import Slots
from worker.supervisor import TRAINING_COMMAND

# Enough steps that the job is still at it after each interruption; checkpoints in mid-epoch.
TRAINING: dict[str, Any] = {"epochs": 30, "batch_size": 8, "checkpoint_every_steps": 16, "seed": 3}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # Patient: what is tested is not the timing, and machines that test are busy.
    return Settings(data_dir=tmp_path / "data", **(QUICK | {"lease_seconds": 60, "heartbeat_seconds": 2}))


class Silent:
    """A doorbell that nobody hears: workers look at the queue by themselves."""

    def ring_job(self, job_id: str, queue: str) -> None:
        pass

    def ring_dataset(self, dataset_id: str) -> None:
        pass


def more_steps(store: Store, job_id: str, count: int = 3) -> None:
    before = step(store, job_id)
    until(lambda: step(store, job_id) >= before + count, 60)


@pytest.mark.slow
def test_after_pause_drain_and_kill_9_the_weights_are_those_of_an_uninterrupted_run(
    store: Store, valkey_url: str
) -> None:
    work = {"dataset": images(store), "training": TRAINING}
    calm = submit(store, **work)
    Slots(store, threading.Event(), TRAINING_COMMAND).work()
    assert get(store, calm.id).state == "succeeded", get(store, calm.id).error

    hit = submit(store, **work)
    processes = [Process(store.settings, REAL, broker_url=valkey_url)]
    try:
        more_steps(store, hit.id)
        pause(store, hit.id)
        reached(store, hit.id, "paused", seconds=60)
        with store.write() as connection:
            jobs.resume(connection, hit.id)
        more_steps(store, hit.id)
        assert processes[0].end() == 0  # SIGTERM: drained
        assert get(store, hit.id).state == "queued"

        processes.append(Process(store.settings, REAL, broker_url=valkey_url))
        more_steps(store, hit.id)
        processes[1].kill()
        with store.write() as connection:
            connection.execute(update(table).where(table.c.id == hit.id).values(lease_expires_at=now(-1)))
        assert Reaper(store, Silent()).run_once().requeued == [hit.id]
        Slots(store, threading.Event(), TRAINING_COMMAND).work()
    finally:
        for process in processes:
            process.kill()
    assert moves(store, hit.id) == [
        *("queued", "running", "pausing", "paused"),
        *("queued", "running", "queued"),
        *("running", "queued", "running", "succeeded"),
    ]
    starts = [event.data["started"]["step"] for event in log(store, hit.id) if "started" in event.data]
    assert len(starts) == 4
    assert 0 == starts[0] < starts[1] < starts[2] < get(store, hit.id).spec.training.epochs * 7
    assert starts[3] % 16 == 0 or starts[3] == starts[2]  # killed: from the last checkpoint, not from where it was
    first, second = digests(store, calm.id), digests(store, hit.id)
    assert first["weights.safetensors"] == second["weights.safetensors"]
    assert first["model.safetensors"] == second["model.safetensors"]
