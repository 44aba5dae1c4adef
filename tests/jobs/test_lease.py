from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, update

from jobs import artifacts, checkpoints, events, jobs, lease, queues
from jobs.errors import LeaseLostError
from jobs.lease import RetryPolicy
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import claim, get, running, state, submit

ERROR = {"code": "child_killed", "message": "gone", "param": None}


def test_jobs_are_claimed_oldest_first_and_once(store: Store) -> None:
    ids = [submit(store).id for _ in range(3)]
    claimed = [claim(store) for _ in range(4)]
    assert [job and job.id for job in claimed] == [*ids, None]
    assert all(job is None or (job.lease_epoch, job.lease_owner) == (1, "test:1:0") for job in claimed)
    assert claimed[0] is not None
    assert claimed[0].record == {"attempt": 1, "worker": "test:1:0"}
    assert claimed[0].started_at is not None


def test_workers_take_only_what_is_for_them(store: Store) -> None:
    cuda, cpu, anywhere = (submit(store, device=device).id for device in ("cuda", "cpu", "auto"))
    assert [job and job.id for job in (claim(store), claim(store), claim(store))] == [cpu, anywhere, None]
    assert claim(store, queues=("cuda",)).id == cuda  # type: ignore[union-attr]


def test_a_given_job_can_be_claimed_and_no_other(store: Store) -> None:
    first, second = submit(store), submit(store)
    with store.write() as connection:
        job = lease.claim(connection, ["cpu"], "me", 60, job_id=second.id, record={"threads": 2})
    assert job is not None
    assert job.id == second.id
    assert job.record is not None
    assert job.record["threads"] == 2
    with store.write() as connection:
        assert lease.claim(connection, ["cpu"], "me", 60, job_id=second.id) is None
    assert state(store, first.id) is JobState.QUEUED


def test_many_workers_at_once_never_share_a_job(store: Store) -> None:
    ids = {submit(store).id for _ in range(12)}
    gate = threading.Barrier(6)

    def work(_: int) -> list[str]:
        gate.wait()
        taken = []
        while (job := claim(store)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [job_id for ids in pool.map(work, range(6)) for job_id in ids]
    assert sorted(taken) == sorted(ids)


def test_a_heartbeat_keeps_the_lease_and_tells_what_is_asked(store: Store) -> None:
    job = running(store, 0.3)
    for _ in range(4):
        time.sleep(0.15)
        with store.write() as connection:
            assert lease.heartbeat(connection, job.id, 1, 0.3) is JobState.RUNNING
            assert lease.expired(connection) == []
    with store.write() as connection:
        jobs.request_cancel(connection, job.id)
    with store.write() as connection:
        assert lease.heartbeat(connection, job.id, 1, 0.3) is JobState.CANCELLING
        assert lease.look(connection, job.id, 1) is JobState.CANCELLING


def test_a_lease_runs_out_on_the_databases_clock_and_without_an_end_too(store: Store) -> None:
    job, other = running(store, 1000), running(store, 1000)
    with store.write() as connection:
        assert lease.expired(connection) == []
        connection.execute(update(table).where(table.c.id == job.id).values(lease_expires_at=None))
        connection.execute(update(table).where(table.c.id == other.id).values(lease_expires_at=now(-1)))
        assert sorted(lease.expired(connection)) == sorted([(job.id, 1), (other.id, 1)])


def test_a_late_heartbeat_does_not_touch_a_job_that_has_ended(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        done = lease.succeed(connection, job.id, 1, {"validation_accuracy": 0.9})
    for late in (lease.look, lambda c, i, e: lease.heartbeat(c, i, e, 60)):
        with pytest.raises(LeaseLostError), store.write() as connection:
            late(connection, job.id, 1)
    assert get(store, job.id) == done
    assert done.result == {"validation_accuracy": 0.9}


def test_an_attempt_writes_nothing_once_another_has_the_job(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        lease.release(connection, job.id, 1, reason="taken back")
    held = claim(store)
    assert held is not None
    assert held.lease_epoch == 2
    blob = store.blobs.put_stream([b"late"])
    late: list[Callable[[Connection], object]] = [
        lambda c: lease.look(c, job.id, 1),
        lambda c: lease.heartbeat(c, job.id, 1, 60),
        lambda c: events.append(c, job.id, 1, [("log", {"message": "late"})]),
        lambda c: checkpoints.add(c, store.blobs, job.id, 1, blob, step=1, keep=2),
        lambda c: artifacts.add(c, store.blobs, job.id, 1, blob, name="model.safetensors", kind="model"),
        lambda c: lease.release(c, job.id, 1, reason="drained"),
        lambda c: lease.attempt_failed(c, job.id, 1, ERROR, RetryPolicy(3, 0)),
        lambda c: lease.fail(c, job.id, 1, ERROR),
        lambda c: lease.succeed(c, job.id, 1, {}),
    ]
    for write in late:
        with pytest.raises(LeaseLostError), store.write() as connection:
            write(connection)
    assert get(store, job.id) == held


def test_attempts_are_bounded_and_waits_grow(store: Store) -> None:
    policy = RetryPolicy(max_attempts=4, backoff_seconds=1)
    assert [policy.delay(n) for n in (1, 2, 3, 4, 20)] == [0, 1, 3, 7, 60]
    job = running(store)
    for attempt in (1, 2, 3):
        with store.write() as connection:
            again = lease.attempt_failed(connection, job.id, attempt, ERROR, policy)
            assert again is not None
            assert again.state is JobState.QUEUED
            assert again.error is None
            if attempt > 1:
                assert lease.claim(connection, ["cpu"], "me", 60) is None  # not yet
                connection.execute(update(table).values(not_before=now(-1)))
            assert queues.waiting(connection) == [(job.id, "auto")]
            assert lease.claim(connection, ["cpu"], "me", 60) is not None
    with store.write() as connection:
        ended = lease.attempt_failed(connection, job.id, 4, ERROR, policy)
    assert ended is not None
    assert ended.state is JobState.FAILED
    assert ended.error == {**ERROR, "attempts": 4, "log": []}


def test_jobs_that_failed_together_do_not_come_back_together(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = RetryPolicy(max_attempts=9, backoff_seconds=8)
    for share, waits in ((0.0, [0, 4, 12, 30]), (1.0, [0, 8, 24, 60])):
        monkeypatch.setattr("jobs.lease.random.uniform", lambda low, high, share=share: low + (high - low) * share)
        assert [policy.jittered(n) for n in (1, 2, 3, 9)] == waits


def test_the_time_that_a_job_was_held_adds_up_and_waiting_does_not(store: Store) -> None:
    job = running(store)
    for attempt, seconds in ((1, 10), (2, 20)):
        with store.write() as connection:
            connection.execute(update(table).values(claimed_at=now(-seconds)))
            lease.release(connection, job.id, attempt, reason="drained")
        waited = get(store, job.id)
        assert waited.ran_seconds == pytest.approx({1: 10, 2: 30}[attempt], abs=5)
        with store.write() as connection:
            connection.execute(update(table).values(claimed_at=now(-1000)))  # long ago: it waits
        assert claim(store) is not None
    with store.write() as connection:
        done = lease.succeed(connection, job.id, 3, {})
    assert done.ran_seconds == pytest.approx(30, abs=5)


def test_a_new_checkpoint_counts_as_progress(store: Store) -> None:
    policy = RetryPolicy(max_attempts=2, backoff_seconds=0)
    job = running(store)
    for attempt in (1, 2, 3):
        with store.write() as connection:
            blob = store.blobs.put_stream([b"%d" % attempt])
            checkpoints.add(connection, store.blobs, job.id, attempt, blob, step=attempt, keep=2)
            again = lease.attempt_failed(connection, job.id, attempt, ERROR, policy)
            assert again is not None
            assert (again.state, again.failures) == (JobState.QUEUED, 1)
            lease.claim(connection, ["cpu"], "me", 60)


@pytest.mark.parametrize(("ask", "rest"), [("request_cancel", "cancelled"), ("request_pause", "paused")])
def test_a_job_that_was_asked_to_stop_stops_however_its_attempt_ends(store: Store, ask: str, rest: str) -> None:
    policy = RetryPolicy(max_attempts=1, backoff_seconds=0)
    for end in (
        lambda c, job: lease.release(c, job.id, 1, reason="asked"),
        lambda c, job: lease.attempt_failed(c, job.id, 1, ERROR, policy),
    ):
        job = running(store)
        with store.write() as connection:
            getattr(jobs, ask)(connection, job.id)
        with store.write() as connection:
            end(connection, job)
        assert state(store, job.id) == rest
