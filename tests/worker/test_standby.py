"""Children that wait for a job: of a real worker, with real training."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from jobs.settings import Settings
from jobs.store import Store
from tests.jobs.helpers import get
from tests.worker.helpers import QUICK, children, gone, moves, reached, until
from tests.worker.processes import REAL, Process
from tests.worker.test_child import digests, messages, run, small


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", **(QUICK | {"lease_seconds": 60, "heartbeat_seconds": 2}))


TINY: dict[str, Any] = {"architecture": {"name": "convnet", "width": 0.25, "image_size": 8, "channels": 1}}


def waiting(worker: Process) -> int | None:
    """The child that waits, if there is one."""
    for pid in children(worker.popen.pid):
        try:
            if b"--standby" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def loaded(pid: int) -> bool:
    return "libtorch_cpu" in Path(f"/proc/{pid}/maps").read_text()


def test_a_job_runs_in_the_child_that_waits_for_it_with_the_same_result(store: Store, valkey_url: str) -> None:
    cold = small(store, **TINY)
    run(store)
    worker = Process(store.settings, REAL, broker_url=valkey_url, standby=True)
    try:
        first = until(lambda: waiting(worker), 60)
        until(lambda: loaded(first), 60)
        warm = small(store, **TINY)
        reached(store, warm.id, "succeeded", seconds=60)
        assert gone(first)
        assert digests(store, warm.id)["weights.safetensors"] == digests(store, cold.id)["weights.safetensors"]
        assert get(store, warm.id).record["limits"] == get(store, cold.id).record["limits"]
        assert "limits of the training process" in messages(store, warm.id)

        second = until(lambda: waiting(worker), 60)  # the next one, and it dies
        os.kill(second, signal.SIGKILL)
        after = small(store, **TINY)
        reached(store, after.id, "succeeded", seconds=60)
        assert moves(store, after.id).count("running") == 1
        third = until(lambda: waiting(worker), 60)
        assert third != second
        assert worker.end() == 0
    finally:
        worker.kill()
    until(lambda: gone(third), 10)
    assert list((store.settings.data_dir / "work").iterdir()) == []
