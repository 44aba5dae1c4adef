"""A supervisor and its scripted child, through everything that can happen to either."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import OperationalError

from jobs import artifacts, checkpoints, events, jobs, lease, metrics
from jobs.blobs import BlobStore
from jobs.errors import LeaseLostError, StorageAwayError
from jobs.records import Checkpoint
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import jobs as table
from tests.jobs.helpers import claim, get, ready_dataset, submit
from tests.worker.conftest import Bench
from tests.worker.helpers import (
    cancel,
    chain,
    children,
    gone,
    log,
    moves,
    pause,
    reached,
    scripted,
    step,
    until,
)
from worker.buffer import EventBuffer


def the_child() -> int:
    return int(until(lambda: children(os.getpid()))[0])


def model(store: Store, job_id: str) -> bytes:
    with store.read() as connection:
        artifact = artifacts.get(connection, job_id, "model.safetensors")
    return store.blobs.verify(artifact.sha256).read_bytes()


def test_a_job_runs_and_leaves_its_record_metrics_and_files(store: Store) -> None:
    bench = Bench(store)
    job_id = scripted(store, steps=10, nan=4).id
    assert bench.slots.work() == 1
    job = get(store, job_id)
    assert moves(store, job_id) == ["queued", "running", "succeeded"]
    assert job.record is not None
    assert (job.record["attempt"], job.record["isa"], job.record["threads"]) == (1, "reference", 1)
    assert job.record["report"] == [{"name": "conv1", "action": "kept"}]
    assert job.progress is not None
    assert (job.progress["step"], job.progress["total_steps"], job.progress["validation_accuracy"]) == (10, 10, 0.8)
    assert job.result is not None
    assert (job.result["validation_accuracy"], job.result["train_images"], job.result["seconds"]) == (0.8, 80, 1)
    assert job.result["artifacts"]["model.safetensors"]["size"] == 64
    assert model(store, job_id) == chain(10)
    with store.read() as connection:
        loss = metrics.series(connection, job_id, kind="step", names=["loss"])[0]
        (cosine,) = metrics.series(connection, job_id, kind="telemetry")
        assert (cosine.name, cosine.steps, cosine.values) == ("conv/dw_cosine", [10], [0.5])
        assert (loss.steps, loss.values[3], loss.values[9]) == (list(range(1, 11)), None, 0.1)
        assert [row.step for row in checkpoints.list_checkpoints(connection, job_id)] == [10, 5]
    assert [event.seq for event in log(store, job_id)] == list(range(1, job.next_seq))
    assert list((store.settings.data_dir / "work").iterdir()) == []


def test_a_killed_child_is_tried_again_from_its_checkpoint(bench: Bench) -> None:
    job_id = scripted(bench.store, steps=12, every=5, die=7).id
    bench.slots.work()
    assert moves(bench.store, job_id) == ["queued", "running", "queued", "running", "succeeded"]
    broken = next(event for event in log(bench.store, job_id) if event.data.get("reason") == "child_killed")
    assert "SIGKILL" in broken.data["error"]["message"]
    assert "the fake child says hello" in broken.data["error"]["log"]
    starts = [event.data["started"]["step"] for event in log(bench.store, job_id) if "started" in event.data]
    assert starts == [0, 5]
    assert model(bench.store, job_id) == chain(12)


def test_attempts_are_bounded_and_the_record_says_why(bench: Bench) -> None:
    job_id = scripted(bench.store, exit=3).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert moves(bench.store, job_id).count("running") == 3
    assert job.error is not None
    assert (job.error["code"], job.error["attempts"], job.error["log"][-1]) == ("child_crashed", 3, "a traceback, say")


def test_a_failure_for_good_is_not_repeated(bench: Bench) -> None:
    job_id = scripted(bench.store, fail=2).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert moves(bench.store, job_id) == ["queued", "running", "failed"]
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("non_finite_gradient", "training.learning_rate")


def test_a_child_that_aborts_without_memory_is_not_tried_again(bench: Bench) -> None:
    job_id = scripted(bench.store, abort=2).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert moves(bench.store, job_id) == ["queued", "running", "failed"]
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("out_of_memory", "training.batch_size")


def test_cancel_in_mid_run(bench: Bench) -> None:
    job_id = scripted(bench.store, steps=1000, pause=0.02).id
    bench.ring()
    until(lambda: step(bench.store, job_id) > 2)
    child, asked = the_child(), time.monotonic()
    cancel(bench.store, job_id)
    reached(bench.store, job_id, "cancelled")
    assert time.monotonic() - asked < 2
    assert gone(child)
    assert moves(bench.store, job_id) == ["queued", "running", "cancelling", "cancelled"]


def test_a_child_that_does_not_listen_is_ended(bench: Bench) -> None:
    object.__setattr__(bench.store, "settings", bench.store.settings.model_copy(update={"stop_grace_seconds": 0.3}))
    job_id = scripted(bench.store, steps=1000, pause=0.02, deaf=True).id
    bench.ring()
    until(lambda: step(bench.store, job_id) > 2)
    cancel(bench.store, job_id)
    reached(bench.store, job_id, "cancelled", seconds=5)


def test_pause_waits_for_a_checkpoint_and_resume_goes_on_from_it(bench: Bench) -> None:
    job_id = scripted(bench.store, steps=40, pause=0.02, every=1000).id
    bench.ring()
    until(lambda: step(bench.store, job_id) > 2)
    pause(bench.store, job_id)
    reached(bench.store, job_id, "paused")
    at = step(bench.store, job_id)
    assert 2 < at < 40
    with bench.store.write() as connection:
        jobs.resume(connection, job_id)
    bench.ring()
    reached(bench.store, job_id, "succeeded")
    assert model(bench.store, job_id) == chain(40)
    starts = [event.data["started"]["step"] for event in log(bench.store, job_id) if "started" in event.data]
    assert starts == [0, at]


def test_drain_gives_the_job_back_at_a_checkpoint_without_blame(bench: Bench) -> None:
    job_id = scripted(bench.store, steps=1000, pause=0.02, every=1000).id
    thread = bench.ring()
    until(lambda: step(bench.store, job_id) > 2)
    bench.draining.set()
    thread.join(10)
    job = get(bench.store, job_id)
    assert moves(bench.store, job_id) == ["queued", "running", "queued"]
    assert (job.failures, job.not_before, job.lease_owner) == (0, None, None)
    with bench.store.read() as connection:
        assert len(checkpoints.list_checkpoints(connection, job_id)) == 1


def test_when_the_lease_is_lost_the_child_dies_and_nothing_more_is_written(store: Store) -> None:
    bench = Bench(store)
    job_id = scripted(store, steps=2000, pause=0.005, deaf=True).id
    thread = bench.ring()
    until(lambda: step(store, job_id) > 2)
    child = the_child()
    with store.write() as connection:
        connection.execute(update(table).values(lease_expires_at=now(-1)))
        policy = lease.RetryPolicy(3, 0)
        lease.attempt_failed(connection, job_id, 1, {"code": "worker_lost"}, policy, where=lease.lapsed())
        other = lease.claim(connection, ["cpu"], "another:1:0", 60)
        assert other is not None
        assert other.lease_epoch == 2
    until(lambda: gone(child), store.settings.heartbeat_seconds + 1)
    bench.draining.set()
    thread.join(10)
    after = get(store, job_id)
    assert (after.state, after.lease_owner, after.lease_epoch) == ("running", "another:1:0", 2)
    assert after.next_seq == other.next_seq


def test_a_worker_that_was_stopped_beyond_its_lease_finds_that_out_first(bench: Bench) -> None:
    """The supervisor's own writes are refused by their epoch even before its heart has beaten again."""
    job_id = scripted(bench.store, steps=10).id
    job = claim(bench.store, 60)
    assert job is not None
    with bench.store.write() as connection:
        lease.release(connection, job_id, 1, reason="taken back")
    assert claim(bench.store, 60) is not None
    from worker.supervisor import Supervisor

    Supervisor(bench.store, 1, bench.draining, ["python", "-c", "raise SystemExit('must not matter')"]).run(job)
    assert get(bench.store, job_id).lease_epoch == 2
    assert moves(bench.store, job_id) == ["queued", "running", "queued", "running"]


def test_the_time_limit_ends_a_job_with_a_clear_record(bench: Bench) -> None:
    object.__setattr__(bench.store, "settings", bench.store.settings.model_copy(update={"max_job_seconds": 1.0}))
    job_id = scripted(bench.store, steps=1000, pause=0.02).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error["code"] == "time_limit"
    assert "1 seconds" in job.error["message"]
    assert (job.error["param"], "at most 1 here" in job.error["message"]) == ("timeout_seconds", True)


def test_the_time_of_earlier_attempts_counts(bench: Bench) -> None:
    job_id = submit(bench.store, name='{"steps": 1000, "pause": 0.02}', timeout_seconds=30).id
    with bench.store.write() as connection:
        connection.execute(update(table).values(ran_seconds=28.5))
    bench.slots.work()
    job = get(bench.store, job_id)
    assert job.error is not None
    assert (job.error["code"], "raise timeout_seconds and submit" in job.error["message"]) == ("time_limit", True)
    assert 0 < step(bench.store, job_id) < 1000
    assert job.ran_seconds > 28.5

    job_id = submit(bench.store, timeout_seconds=30).id  # used up altogether: nothing is started any more
    with bench.store.write() as connection:
        connection.execute(update(table).where(table.c.id == job_id).values(ran_seconds=31))
    bench.slots.work()
    assert [event.type for event in log(bench.store, job_id)] == ["state"] * 3
    assert moves(bench.store, job_id) == ["queued", "running", "failed"]


def test_steps_do_not_wait_for_the_database_and_what_is_left_out_is_counted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.process.EventBuffer", partial(EventBuffer, capacity=20, reserve=20))
    stamps = tmp_path / "stamps"
    stamps.touch()
    bench = Bench(store)
    job_id = scripted(store, steps=300, pause=0.005, every=1000, stamp=str(stamps)).id
    thread = bench.ring()
    until(lambda: step(store, job_id) > 2)
    with store.write() as connection:
        if store.engine.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE"))
        # Nobody can write now: the child goes on, far beyond what the buffer holds.
        before = len(stamps.read_text().splitlines())
        until(lambda: len(stamps.read_text().splitlines()) >= before + 100)
    thread.join(30)
    bench.rest()
    assert get(store, job_id).state == "succeeded"
    # The steps, and the telemetry at the end, which finds no room either where the database is slow.
    kept = [event for event in log(store, job_id) if event.data.get("kind") in {"step", "telemetry"}]
    told = [event.data["count"] for event in log(store, job_id) if event.data.get("code") == "reports_dropped"]
    assert 0 < sum(told) < 300
    assert len({(event.data["kind"], event.data["step"]) for event in kept}) + sum(told) == 301
    assert model(store, job_id) == chain(300)


def test_a_child_that_does_not_listen_is_drained_in_time_and_without_blame(bench: Bench) -> None:
    object.__setattr__(bench.store, "settings", bench.store.settings.model_copy(update={"stop_grace_seconds": 0.3}))
    job_id = scripted(bench.store, steps=100_000, pause=0.02, deaf=True).id
    thread = bench.ring()
    until(lambda: step(bench.store, job_id) > 7)
    bench.draining.set()
    thread.join(20)
    job = get(bench.store, job_id)
    assert (job.state, job.failures, job.lease_owner) == ("queued", 0, None)
    assert _rows(bench.store, job_id)[0].step >= 5


def test_a_child_that_fills_the_disk_is_ended(bench: Bench) -> None:
    object.__setattr__(bench.store, "settings", bench.store.settings.model_copy(update={"child_disk_bytes": 1 << 20}))
    job_id = scripted(bench.store, steps=1000, pause=0.02, fill=1 << 16).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert moves(bench.store, job_id) == ["queued", "running", "failed"]
    assert job.error is not None
    assert (job.error["code"], "FQT_CHILD_DISK_BYTES" in job.error["message"]) == ("out_of_disk", True)


def test_a_full_disk_is_named_when_the_attempts_are_used_up(bench: Bench) -> None:
    job_id = scripted(bench.store, exit=2, say="OSError: [Errno 28] No space left on device: 'x'").id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert moves(bench.store, job_id).count("running") == 3
    assert job.error is not None
    assert (job.error["code"], "make room" in job.error["message"]) == ("disk_full", True)


def test_a_worker_without_room_on_its_disk_takes_no_job_and_fails_none(bench: Bench) -> None:
    calm = bench.store.settings
    object.__setattr__(bench.store, "settings", calm.model_copy(update={"min_free_bytes": 1 << 60}))
    job_id = scripted(bench.store, steps=2).id
    assert bench.slots.work() == 0
    assert moves(bench.store, job_id) == ["queued"]
    object.__setattr__(bench.store, "settings", calm)
    assert bench.slots.work() == 1
    assert moves(bench.store, job_id) == ["queued", "running", "succeeded"]


def test_a_file_that_is_not_the_childs_is_not_taken(bench: Bench) -> None:
    job_id = scripted(bench.store, foreign=2).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert job.state == "failed"
    assert job.error is not None
    assert "/etc/hostname" in job.error["message"]
    with bench.store.read() as connection:
        assert checkpoints.list_checkpoints(connection, job_id) == []


def test_a_line_that_is_no_event_is_told_and_left_out(bench: Bench) -> None:
    job_id = scripted(bench.store, garbage=2).id
    bench.slots.work()
    assert get(bench.store, job_id).state == "succeeded"
    assert any(event.data.get("level") == "warning" for event in log(bench.store, job_id))


def test_a_damaged_checkpoint_falls_back_to_the_one_before(bench: Bench) -> None:
    job_id = scripted(bench.store, steps=20, every=5, pause=0.05, die=12).id
    bench.ring()
    until(lambda: len(_kept(bench.store, job_id)) == 2)
    newest = bench.store.blobs.path(_kept(bench.store, job_id)[0])
    newest.write_bytes(newest.read_bytes()[:-1] + b"x")
    reached(bench.store, job_id, "succeeded")
    starts = [event.data["started"]["step"] for event in log(bench.store, job_id) if "started" in event.data]
    assert starts == [0, 5]
    assert model(bench.store, job_id) == chain(20)
    told = [event.data for event in log(bench.store, job_id) if event.type == "warning"]
    assert [(data["code"], data["step"]) for data in told] == [("checkpoint_damaged", 10)]
    assert not newest.exists()


def test_a_spec_says_how_many_checkpoints_are_kept(bench: Bench) -> None:
    job = submit(bench.store, name='{"steps": 25}', checkpoints={"keep_last": 4})
    bench.slots.work()
    with bench.store.read() as connection:
        kept = checkpoints.list_checkpoints(connection, job.id)
    assert [row.step for row in kept] == [25, 20, 15, 10]
    assert all(bench.store.blobs.exists(row.sha256) for row in kept)


def _rows(store: Store, job_id: str) -> list[Checkpoint]:
    with store.read() as connection:
        return checkpoints.list_checkpoints(connection, job_id)


def _kept(store: Store, job_id: str) -> list[str]:
    return [row.sha256 for row in _rows(store, job_id)]


def test_a_job_whose_files_are_gone_fails_with_the_field_to_blame(bench: Bench) -> None:
    dataset = ready_dataset(bench.store, {"a": 5, "b": 5})
    job = submit(bench.store, dataset=dataset)
    bench.store.blobs.delete(job.dataset_sha256 or "")
    bench.slots.work()
    job = get(bench.store, job.id)
    assert job.error is not None
    assert (job.state, job.error["code"], job.error["param"]) == ("failed", "input_unusable", "dataset")


def test_trouble_of_the_worker_itself_is_not_the_jobs_fault(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = BlobStore.put_file, []

    def full(self, path, **options):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return real(self, path, **options)

    monkeypatch.setattr(BlobStore, "put_file", full)
    job_id = scripted(bench.store, steps=10).id
    bench.slots.work()
    assert moves(bench.store, job_id) == ["queued", "running", "queued", "running", "succeeded"]
    reasons = [event.data.get("reason") for event in log(bench.store, job_id)]
    assert "disk_full" in reasons


@pytest.mark.parametrize("call", ["put_file", "verify", "exists"])  # a checkpoint, the data set, the end
def test_an_object_store_that_is_away_is_not_the_jobs_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    dataset = ready_dataset(bench.store, {"a": 5, "b": 5})
    job_id = submit(bench.store, name=json.dumps({"steps": 10}), dataset=dataset).id
    real, calls = getattr(BlobStore, call), []

    def away(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise StorageAwayError("s3://files: connection refused")
        return real(self, *arguments, **options)

    monkeypatch.setattr(BlobStore, call, away)
    bench.slots.work()
    job = get(bench.store, job_id)
    assert (job.state, job.failures) == ("succeeded", 0)
    assert moves(bench.store, job_id) == ["queued", "running", "queued", "running", "succeeded"]
    assert "storage_away" in [event.data.get("reason") for event in log(bench.store, job_id)]
    assert model(bench.store, job_id) == chain(10)


def test_no_job_is_taken_while_the_object_store_is_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = scripted(bench.store, steps=5).id
    monkeypatch.setattr(BlobStore, "answers", lambda self: False)
    bench.slots.work()
    assert moves(bench.store, job_id) == ["queued"]


def test_a_database_that_fails_while_an_attempt_is_set_up_is_not_the_jobs_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worker import supervisor

    real, calls = supervisor.training_input, []

    def away(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise OperationalError("SELECT", {}, ConnectionError("server closed the connection"))
        return real(*arguments)

    monkeypatch.setattr(supervisor, "training_input", away)
    job_id = scripted(bench.store, steps=5).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert (job.state, job.failures) == ("succeeded", 0)
    assert moves(bench.store, job_id) == ["queued", "running", "queued", "running", "succeeded"]
    assert "database_away" in [event.data.get("reason") for event in log(bench.store, job_id)]


def test_a_database_that_is_away_for_a_whole_lease_ends_the_attempt_and_the_job_goes_on_without_blame(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away_at_first(real):
        def ask(connection, job_id, epoch, *rest):
            if epoch == 1:
                raise OperationalError("UPDATE", {}, ConnectionError("server closed the connection"))
            return real(connection, job_id, epoch, *rest)

        return ask

    for name in ("look", "heartbeat"):
        monkeypatch.setattr(lease, name, away_at_first(getattr(lease, name)))
    job_id = scripted(bench.store, steps=350, pause=0.01).id
    bench.slots.work()
    job = get(bench.store, job_id)
    assert (job.state, job.failures) == ("succeeded", 0)
    assert moves(bench.store, job_id) == ["queued", "running", "queued", "running", "succeeded"]
    assert "database_away" in [event.data.get("reason") for event in log(bench.store, job_id)]
    assert model(bench.store, job_id) == chain(350)


def test_busy_slots_remember_that_it_rang(bench: Bench) -> None:
    first = scripted(bench.store, steps=30, pause=0.02).id
    bench.ring()
    until(lambda: step(bench.store, first) > 2)
    second = scripted(bench.store, steps=3).id
    assert bench.slots.work() == 0  # at once: the only slot is busy
    reached(bench.store, second, "succeeded")
    assert moves(bench.store, first) == moves(bench.store, second) == ["queued", "running", "succeeded"]


def test_a_second_signal_to_the_group_reaches_grandchildren(bench: Bench) -> None:
    job_id = scripted(bench.store, steps=1000, pause=0.02).id
    bench.ring()
    until(lambda: step(bench.store, job_id) > 1)
    child = the_child()
    assert os.getpgid(child) == os.getsid(child) == child != os.getpgid(0)
    os.kill(child, signal.SIGKILL)
    until(lambda: moves(bench.store, job_id).count("running") == 2)
    cancel(bench.store, job_id)
    reached(bench.store, job_id, "cancelled")


def test_what_a_child_is_told_has_no_secrets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from worker.process import child_environment

    monkeypatch.setenv("FQT_SECRET", "hush")
    monkeypatch.setenv("FQT_DATABASE_URL", "postgresql://me:hush@host/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("FQT_ISA", "reference")
    environment = child_environment(bench.store.settings.data_dir, 3, os.environ)
    assert "hush" not in json.dumps(environment)
    assert (environment["FQT_ISA"], environment["OMP_NUM_THREADS"]) == ("reference", "3")
    assert environment["HOME"] == str(bench.store.settings.data_dir)


def test_late_writes_are_refused_even_with_the_right_job(store: Store) -> None:
    job = scripted(store)
    assert claim(store, 60) is not None
    with store.write() as connection:
        lease.release(connection, job.id, 1, reason="x")
    with pytest.raises(LeaseLostError), store.write() as connection:
        events.append(connection, job.id, 1, [("log", {})])
