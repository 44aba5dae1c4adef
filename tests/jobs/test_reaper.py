from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import DBAPIError

from jobs import blob_rows, database, datasets, events, jobs, lease
from jobs.reaper import Reaper
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import claim, get, running, state, submit


class Bell:
    def __init__(self) -> None:
        self.jobs: list[tuple[str, str]] = []
        self.datasets: list[str] = []

    def ring_job(self, job_id: str, queue: str) -> None:
        self.jobs.append((job_id, queue))

    def ring_dataset(self, dataset_id: str) -> None:
        self.datasets.append(dataset_id)


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("jobs.reaper.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def lapse(store: Store) -> None:
    with store.write() as connection:
        connection.execute(update(table).where(table.c.lease_owner.is_not(None)).values(lease_expires_at=now(-1)))


def test_a_lapsed_job_is_queued_again_and_rung_for_at_once(store: Store) -> None:
    job, healthy = running(store), running(store)
    with store.write() as connection:
        connection.execute(update(table).where(table.c.id == job.id).values(lease_expires_at=now(-1)))
    bell = Bell()
    done = Reaper(store, bell).run_once()
    assert done.requeued == [job.id]
    assert bell.jobs == [(job.id, "auto")]
    assert state(store, healthy.id) is JobState.RUNNING
    again = claim(store)
    assert again is not None
    assert (again.id, again.lease_epoch) == (job.id, 2)


def test_when_attempts_are_used_up_the_job_fails_with_a_clear_record(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        lines: list[events.NewEvent] = [("log", {"message": f"line {n}"}) for n in range(30)]
        events.append(connection, job.id, 1, [*lines, ("metric", {"kind": "step", "step": 1})])
    reaper = Reaper(store, Bell())
    for _ in range(store.settings.max_attempts):
        lapse(store)
        done = reaper.run_once()
        with store.write() as connection:
            connection.execute(update(table).values(not_before=None))
        claim(store)
    job = get(store, done.ended[0])
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert (job.error["code"], job.error["attempts"]) == ("worker_lost", 3)
    assert job.error["log"] == [f"line {n}" for n in range(10, 30)]


def test_a_lapsed_job_that_was_being_cancelled_is_cancelled(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        jobs.request_cancel(connection, job.id)
    lapse(store)
    assert Reaper(store, Bell()).run_once().ended == [job.id]
    assert state(store, job.id) is JobState.CANCELLED


def test_many_reapers_take_a_job_back_once(store: Store) -> None:
    job = running(store)
    lapse(store)
    reapers = [Reaper(store, Bell()) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        rounds = list(pool.map(lambda reaper: reaper.run_once(), reapers))
    assert sum(len(done.requeued) for done in rounds) == 1
    with store.read() as connection:
        moves = [event.data["to"] for event in events.read(connection, job.id)]
    assert moves == ["queued", "running", "queued"]


def test_a_lease_renewed_in_the_last_moment_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = running(store)
    lapse(store)
    real = lease.expired

    def and_then_it_beats(connection, *args):
        found = real(connection, *args)
        if store.engine.dialect.name == "postgresql":  # on SQLite only after this transaction
            renew()
        return found

    def renew() -> None:
        with store.write() as connection:
            lease.heartbeat(connection, job.id, 1, 60)

    monkeypatch.setattr("jobs.reaper.lease.expired", and_then_it_beats)
    if store.engine.dialect.name == "sqlite":
        renew()
    assert Reaper(store, Bell()).run_once().requeued == []
    assert state(store, job.id) is JobState.RUNNING


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_worker_that_stands_still_within_a_transaction_cannot_keep_its_job(store: Store) -> None:
    """It was stopped, or its machine is cut off: its session still holds the lock of the job's row."""
    still = Store.open(store.settings.model_copy(update={"lease_seconds": 3.0}))
    job = running(store)
    lapse(store)

    def beat_and_stand_still() -> None:
        with still.write() as connection:
            lease.heartbeat(connection, job.id, 1, 60)
            assert Reaper(store, Bell()).run_once().requeued == [job.id]  # for as long as it takes

    with pytest.raises(DBAPIError) as caught:
        beat_and_stand_still()
    assert caught.value.connection_invalidated  # what a journal looks at before it tries again
    with still.write() as connection:  # a statement that has not come to its end is no excuse
        limit = connection.execute(text("SHOW transaction_timeout")).scalar_one()
        database.take_time(connection)
        assert [limit, connection.execute(text("SHOW transaction_timeout")).scalar_one()] == ["10s", "0"]
    assert get(store, job.id).lease_epoch == 1
    assert state(store, job.id) is JobState.QUEUED
    still.close()


def test_lost_doorbells_are_rung_again_ever_more_rarely(store: Store, clock: Clock) -> None:
    job, bell = submit(store, device="cpu"), Bell()
    reaper = Reaper(store, bell)
    rung = []
    for _ in range(400):
        if reaper.run_once().rung:
            rung.append(clock.now - 1000)
        clock.now += 1
    assert rung[:5] == [2, 4, 8, 16, 32]  # whoever made the job has rung at 0
    assert all(60 <= later - earlier <= 61 for earlier, later in pairwise(rung[6:]))
    assert set(bell.jobs) == {(job.id, "cpu")}
    claim(store)
    assert reaper.run_once().rung == []


def test_data_sets_that_wait_for_a_look_are_rung_for(store: Store, clock: Clock) -> None:
    blob, bell = store.blobs.put_stream([b"zip"]), Bell()
    with store.write() as connection:
        dataset = datasets.create(connection, store.blobs, blob, name="new")
    reaper = Reaper(store, bell)
    reaper.run_once()
    assert bell.datasets == []
    clock.now += 2
    reaper.run_once()
    assert bell.datasets == [dataset.id]


def test_leftover_files_are_removed_now_and_then(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = store.blobs.put_stream([b"orphan"])
    reaper = Reaper(store, Bell())
    reaper.run_once()
    monkeypatch.setattr("jobs.reaper._BLOB_GRACE_SECONDS", -1)
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, blob)
    reaper.run_once()
    assert store.blobs.exists(blob.sha256)
    clock.now += 60
    reaper.run_once()
    assert not store.blobs.exists(blob.sha256)


def test_the_reaper_outlives_a_broken_round(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()

    class Broken(Bell):
        def ring_job(self, job_id: str, queue: str) -> None:
            stop.set()
            raise ConnectionError("the broker is away")

    running(store)
    lapse(store)
    with caplog.at_level(logging.WARNING):
        Reaper(store, Broken()).run(stop)
    assert "will be repeated" in caplog.text


def test_what_a_crash_left_among_the_files_goes_and_nothing_else_does(store: Store) -> None:
    def age(path: Path) -> Path:
        os.utime(path, (time.time() - 7200, time.time() - 7200))
        return path

    half, fresh = store.blobs.root / "incoming" / "half", store.blobs.root / "incoming" / "fresh"
    for path in (half, fresh):
        path.write_bytes(b"part")
    age(half)
    lost = age(store.blobs.path(store.blobs.put_stream([b"no row"]).sha256))
    young = store.blobs.path(store.blobs.put_stream([b"no row yet"]).sha256)
    kept = store.blobs.put_stream([b"with a row"])
    with store.write() as connection:
        blob_rows.register(connection, store.blobs, kept)
    registered = age(store.blobs.path(kept.sha256))
    Reaper(store, Bell()).run_once()
    assert [path.exists() for path in (half, fresh, lost, young, registered)] == [False, True, False, True, True]
