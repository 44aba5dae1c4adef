"""Whole worker processes: Celery, a real broker, doorbells that are lost and doubled, kill -9 and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from api.doorbell import CeleryDoorbell
from api.instruments import Instruments
from jobs import artifacts, checkpoints, datasets
from jobs.offers import Offer
from jobs.reaper import Reaper
from jobs.settings import Settings
from jobs.store import Store
from tests.jobs.helpers import get
from tests.worker.helpers import chain, children, gone, log, moves, reached, scripted, step, until
from tests.worker.processes import Bell, Process


@pytest.fixture
def settings(settings: Settings, valkey_url: str) -> Settings:
    connection = redis.Redis.from_url(valkey_url)
    connection.flushall()
    connection.close()
    return settings.model_copy(update={"broker_url": Settings(broker_url=valkey_url).broker_url})


@pytest.fixture
def bell(settings: Settings) -> Iterator[Bell]:
    made = Bell(settings.broker_url.get_secret_value())
    yield made
    made.celery.close()


@pytest.fixture
def processes() -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for process in started:
        process.kill()


@pytest.fixture
def reaper(store: Store, bell: Bell) -> Iterator[Reaper]:
    """A reaper at work, as in the API's process."""
    made, stop = Reaper(store, bell), threading.Event()
    thread = threading.Thread(target=made.run, args=(stop,))
    thread.start()
    yield made
    stop.set()
    thread.join()


def result(store: Store, job_id: str) -> bytes:
    with store.read() as connection:
        return store.blobs.verify(artifacts.get(connection, job_id, "model.safetensors").sha256).read_bytes()


def test_the_api_learns_what_the_workers_offer(store: Store, processes: list[Process]) -> None:
    doorbell = CeleryDoorbell(store.settings, Instruments())
    assert doorbell.offers() == []
    processes.append(Process(store.settings, queues="cpu,own,cuda", child_memory_bytes=1 << 30))
    # It has no GPU, and says so instead of taking jobs that would fail.
    assert until(doorbell.offers) == [Offer(("cpu", "own"), 1 << 30)]
    assert processes[0].end() == 0
    assert doorbell.offers() == []
    assert "jobs for GPUs are not taken" in processes[0].log.read_text()
    doorbell.close()
    away = CeleryDoorbell(Settings(broker_url="redis://127.0.0.1:9/0"), Instruments())
    assert away.offers() is None
    away.close()


def test_a_job_survives_kill_9_of_its_worker(
    store: Store, bell: Bell, reaper: Reaper, processes: list[Process]
) -> None:
    processes += [Process(store.settings) for _ in range(2)]
    for process in processes:  # their start is not part of the recovery
        until(lambda log_file=process.log: '"event": "worker starts"' in log_file.read_text(), 20)
    job = scripted(store, steps=40, pause=0.05, every=5)
    bell.ring_job(job.id, job.queue)
    until(lambda: step(store, job.id) >= 12)
    holder, other = sorted(processes, key=lambda process: not children(process.popen.pid))
    orphan = children(holder.popen.pid)[0]
    killed = time.monotonic()
    holder.kill()
    until(lambda: gone(orphan), 2)
    assert list((store.settings.data_dir / "work").iterdir())
    until(lambda: get(store, job.id).lease_epoch == 2)
    recovery = time.monotonic() - killed
    reached(store, job.id, "succeeded", seconds=30)
    print(f"recovery after kill -9: {recovery:.2f} s with a lease of {store.settings.lease_seconds} s")
    assert recovery < store.settings.lease_seconds + 3  # the lease, and a round of the reaper
    assert moves(store, job.id) == ["queued", "running", "queued", "running", "succeeded"]
    assert result(store, job.id) == chain(40)
    starts = [event.data["started"]["step"] for event in log(store, job.id) if "started" in event.data]
    assert starts[0] == 0
    assert starts[1] >= 10
    assert [event.seq for event in log(store, job.id)] == list(range(1, get(store, job.id).next_seq))
    assert other.end() == 0
    processes.append(Process(store.settings))
    until(lambda: '"event": "worker starts"' in processes[2].log.read_text(), 20)
    assert list((store.settings.data_dir / "work").iterdir()) == []  # the dead worker's folder was cleared away


def test_a_worker_that_was_stopped_beyond_its_lease_writes_nothing_and_its_child_dies(
    store: Store, bell: Bell, reaper: Reaper, processes: list[Process]
) -> None:
    """As when a machine was suspended: everything comes back as if no time had passed."""
    processes.append(Process(store.settings))
    # More than the pipe holds: the child of the stopped worker cannot come to its end by itself.
    job = scripted(store, steps=1000, pause=0.003, every=10, deaf=True)
    bell.ring_job(job.id, job.queue)
    until(lambda: step(store, job.id) >= 12)
    stopped = processes[0].popen.pid
    orphan = children(stopped)[0]
    _stop_between_transactions(store, stopped)
    processes.append(Process(store.settings))
    until(lambda: get(store, job.id).lease_epoch == 2, 40)
    assert not gone(orphan)
    os.kill(stopped, signal.SIGCONT)
    continued = time.monotonic()
    until(lambda: gone(orphan))
    dead = time.monotonic() - continued
    print(f"its child was dead {dead:.2f} s after the worker went on")
    assert dead < store.settings.heartbeat_seconds + 1  # one heartbeat, and what a busy machine takes
    reached(store, job.id, "succeeded", seconds=60)
    assert moves(store, job.id) == ["queued", "running", "queued", "running", "succeeded"]
    assert result(store, job.id) == chain(1000)
    epochs = [event.epoch for event in log(store, job.id)]
    assert epochs == sorted(epochs)
    assert [event.seq for event in log(store, job.id)] == list(range(1, get(store, job.id).next_seq))


def _stop_between_transactions(store: Store, pid: int) -> None:
    """PostgreSQL ends the session of who stands still within a transaction. The lock of a SQLite file is held until the
    process goes on, and everything waits; so there it is stopped while somebody else has that lock."""
    if store.engine.dialect.name != "sqlite":
        os.kill(pid, signal.SIGSTOP)
        return
    with store.write():
        os.kill(pid, signal.SIGSTOP)
        until(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_doorbells_that_ring_a_thousand_times_start_one_execution(
    store: Store, bell: Bell, processes: list[Process], valkey_url: str
) -> None:
    """Nor does a job start again that lasts longer than the broker waits for acknowledgements."""
    processes += [Process(store.settings, poll_seconds=600, test_visibility_seconds=2) for _ in range(2)]
    warm = scripted(store, steps=2)
    bell.ring_job(warm.id, warm.queue)
    reached(store, warm.id, "succeeded")
    job = scripted(store, steps=40, pause=0.1)
    rung = time.monotonic()
    bell.ring_job(job.id, job.queue)
    reached(store, job.id, "running")
    with redis.Redis.from_url(valkey_url) as broker:  # what is in `unacked` is delivered once more
        until(lambda: broker.hlen("unacked") == 0, 2)
    assert get(store, job.id).state == "running"
    for _ in range(999):
        bell.ring_job(job.id, job.queue)
    reached(store, job.id, "succeeded")
    print(f"1000 doorbells: done after {time.monotonic() - rung:.2f} s")
    assert time.monotonic() - rung > 2
    assert moves(store, job.id) == ["queued", "running", "succeeded"]
    assert result(store, job.id) == chain(40)
    for process in processes:
        assert process.end() == 0


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sigterm_drains_a_worker_and_another_goes_on(store: Store, bell: Bell, processes: list[Process]) -> None:
    processes.append(Process(store.settings))
    job = scripted(store, steps=100, pause=0.02, every=1000)
    bell.ring_job(job.id, job.queue)
    until(lambda: step(store, job.id) > 5)
    asked = time.monotonic()
    assert processes[0].end() == 0
    print(f"drained in {time.monotonic() - asked:.2f} s")
    assert time.monotonic() - asked < 5
    after = get(store, job.id)
    assert (after.state, after.failures, after.lease_owner) == ("queued", 0, None)
    with store.read() as connection:
        kept = checkpoints.list_checkpoints(connection, job.id)
    assert len(kept) == 1
    processes.append(Process(store.settings))  # nobody rings: it looks by itself
    reached(store, job.id, "succeeded")
    assert result(store, job.id) == chain(100)
    assert '"event": "worker stopped"' in processes[0].log.read_text()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_worker_works_and_stops_while_the_broker_is_away(store: Store, processes: list[Process]) -> None:
    processes.append(Process(store.settings, broker_url="redis://127.0.0.1:1/0"))
    job = scripted(store, steps=3)
    reached(store, job.id, "succeeded")
    assert processes[0].end() in {0, 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("broker_url", ["redis://127.0.0.1:1/0", None])
def test_sigterm_at_any_moment_of_the_start_is_heeded(
    store: Store, processes: list[Process], broker_url: str | None
) -> None:
    changes = {} if broker_url is None else {"broker_url": broker_url}
    for pause in (0.0, 0.02, 0.05, 0.1, 0.3):
        process = Process(store.settings, **changes)
        processes.append(process)
        until(lambda log_file=process.log: '"event": "worker starts"' in log_file.read_text(), 20)
        time.sleep(pause)
        assert process.end() in {0, 1}, pause
        assert '"event": "worker stopped"' in process.log.read_text()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_uploads_are_looked_through(store: Store, bell: Bell, processes: list[Process], tmp_path: Path) -> None:
    processes.append(Process(store.settings))
    good, bad = (
        store.blobs.put_file(_archive(tmp_path / "good.zip", broken=False)),
        store.blobs.put_file(_archive(tmp_path / "bad.zip", broken=True)),
    )
    with store.write() as connection:
        ids = [datasets.create(connection, store.blobs, blob, name="x").id for blob in (good, bad)]
    for dataset_id in ids * 3:
        bell.ring_dataset(dataset_id)

    def outcome(dataset_id: str) -> datasets.Dataset:
        with store.read() as connection:
            return datasets.get(connection, dataset_id)

    until(lambda: all(outcome(dataset_id).state != "checking" for dataset_id in ids), 30)
    ready, invalid = map(outcome, ids)
    assert ready.state == "ready"
    assert ready.profile is not None
    assert [(row["name"], row["count"]) for row in ready.profile["classes"]] == [("cat", 3), ("dog", 3)]
    assert invalid.state == "invalid"
    assert invalid.error is not None
    assert "dog/1.png" in str(invalid.error["faults"])
    assert (ready.check_epoch, invalid.check_epoch) == (1, 1)
    assert processes[0].end() == 0


def _archive(path: Path, *, broken: bool) -> Path:
    import io
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cat", "dog"):
            for number in range(3):
                content = io.BytesIO()
                Image.new("L", (8, 8), number * 40).save(content, "PNG")
                data = content.getvalue()
                archive.writestr(f"{name}/{number}.png", data[:40] if broken and (name, number) == ("dog", 1) else data)
    return path
