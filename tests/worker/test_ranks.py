"""A job in two processes: one is lost, then their agent, then it is paused; and its weights are those of a calm run."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from jobs import jobs
from jobs.settings import Settings
from jobs.store import Store
from tests.jobs.helpers import get, submit
from tests.worker.helpers import QUICK, children, gone, log, moves, pause, reached, step, until
from tests.worker.test_child import digests, images
from worker.slots import Slots
from worker.supervisor import TRAINING_COMMAND

NETWORK = {"name": "convnet", "width": 0.25, "image_size": 8, "channels": 1}
TRAINING: dict[str, Any] = {"epochs": 8, "batch_size": 8, "checkpoint_every_steps": 5, "seed": 3}
PATIENT = {"lease_seconds": 60, "heartbeat_seconds": 2, "stop_grace_seconds": 120}
PARALLEL = {"processes": 2, "gradient_bits": 4, "sync_batch_norm": True}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # Patient: what is tested is not the timing, and machines that test are busy.
    return Settings(data_dir=tmp_path / "data", **(QUICK | PATIENT))


def ranks() -> dict[int, int]:
    """Rank to process id, of the jobs that this process runs."""
    agents, found = children(os.getpid()), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent in agents and b"worker.rank" in (folder / "cmdline").read_bytes():
                variables = (folder / "environ").read_bytes().split(b"\0")
                found[int(next(v[5:] for v in variables if v.startswith(b"RANK=")))] = int(folder.name)
        except (FileNotFoundError, ProcessLookupError, StopIteration):
            continue
    return found


def begun(store: Store, job_id: str, times: int) -> None:
    """Wait until training has begun so often and gone on for some steps."""

    def there() -> bool:
        time.sleep(0.3)  # the log is long, and training is to have the processor
        starts = [event for event in log(store, job_id) if "started" in event.data]
        return len(starts) >= times and step(store, job_id) >= starts[times - 1].data["started"]["step"] + 3

    until(there, 240)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_whatever_process_is_lost_the_weights_are_those_of_a_calm_run(store: Store) -> None:
    work = {"dataset": images(store), "architecture": NETWORK, "training": TRAINING, "parallel": PARALLEL}
    calm, hit = submit(store, **work), submit(store, **work)
    slots = Slots(store, threading.Event(), TRAINING_COMMAND)

    def begin() -> threading.Thread:
        thread = threading.Thread(target=slots.work)
        thread.start()
        return thread

    worker = begin()
    reached(store, calm.id, "succeeded", "failed", seconds=600)
    assert get(store, calm.id).error is None

    begun(store, hit.id, 1)
    os.kill(ranks()[1], signal.SIGKILL)
    until(lambda: any(event.data.get("code") == "processes_restarted" for event in log(store, hit.id)), 120)
    begun(store, hit.id, 2)
    assert get(store, hit.id).lease_epoch == 1, "the attempt goes on"

    [agent], orphans = children(os.getpid()), ranks()
    assert len(orphans) == 2
    os.kill(agent, signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in orphans.values()), 10)

    until(lambda: get(store, hit.id).lease_epoch == 2, 60)
    begun(store, hit.id, 3)
    pause(store, hit.id)
    reached(store, hit.id, "paused", seconds=100)
    assert not ranks()
    with store.write() as connection:
        jobs.resume(connection, hit.id)
    if not worker.is_alive():
        worker = begin()
    reached(store, hit.id, "succeeded", "failed", seconds=600)
    worker.join()

    assert moves(store, hit.id)[-5:] == ["pausing", "paused", "queued", "running", "succeeded"], get(
        store, hit.id
    ).error
    assert digests(store, hit.id)["weights.safetensors"] == digests(store, calm.id)["weights.safetensors"]
    record = get(store, calm.id).record or {}
    told = record["gradients_exchanged"]
    assert (told["processes"], told["gradient_bits"], told["step"]) == (2, 4, 8 * 7)
    assert 6 < told["full_precision_bytes"] / told["bytes_sent"] < 8
    assert record["limits"]["network"] in {"loopback", "on"}
    assert not ranks()
