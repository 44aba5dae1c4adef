from __future__ import annotations

from typing import Any

import pytest

from fqt_core.config import ARCHITECTURES
from jobs import artifacts, blob_rows, checkpoints, datasets, jobs, lease
from jobs.errors import (
    DatasetInUseError,
    IllegalMoveError,
    InvalidSpecError,
    JobNotFinishedError,
    LeaseLostError,
    NotFoundError,
)
from jobs.states import JobState
from jobs.store import Store
from tests.jobs.helpers import TINY, claim, get, ready_dataset, running, spec, state, submit


def succeeded(store: Store, **changes: object) -> str:
    job_id = submit(store, **changes).id
    assert claim(store) is not None
    weights = store.blobs.put_stream([b"weights of " + job_id.encode()])
    model = store.blobs.put_stream([b"model of " + job_id.encode()])
    result = {"classes": changes.get("classes", list("0123456789"))}
    with store.write() as connection:
        artifacts.add(connection, store.blobs, job_id, 1, weights, name="weights.safetensors", kind="weights")
        artifacts.add(connection, store.blobs, job_id, 1, model, name="model.safetensors", kind="model")
        lease.succeed(connection, job_id, 1, result)
    return job_id


def faults(store: Store, **changes: object) -> dict[str, str]:
    with pytest.raises(InvalidSpecError) as caught, store.write() as connection:
        jobs.create(connection, spec(**changes))
    return {fault.field: fault.message for fault in caught.value.errors}


def test_an_accepted_job_is_queued_with_its_first_event(store: Store) -> None:
    job = submit(store, name="mine")
    assert (job.state, job.name, job.next_seq, job.queue, job.lease_epoch) == (JobState.QUEUED, "mine", 2, "auto", 0)
    assert job.spec == spec(name="mine")
    assert get(store, job.id) == job


def test_the_data_set_and_the_weights_are_pinned(store: Store) -> None:
    dataset = ready_dataset(store, {"cat": 30, "dog": 20, "owl": 4})
    first = succeeded(store, dataset=dataset)
    job = submit(store, dataset=dataset, classes=["owl", "cat"], initial_weights=first)
    with store.read() as connection:
        assert job.dataset_sha256 == datasets.get(connection, dataset).sha256
        assert job.initial_weights_sha256 == artifacts.get(connection, first, "weights.safetensors").sha256


def test_every_fault_of_a_spec_is_named_at_once(store: Store) -> None:
    other = succeeded(store, architecture={**TINY["architecture"], "width": 0.125})
    training = {"augment": {"pad_crop": 8}}
    found = faults(store, classes=["0", "cat", "1", "dog"], initial_weights=other, training=training)
    assert found.keys() == {"classes.1", "classes.3", "architecture.width", "training.augment.pad_crop"}
    assert "has no class 'cat'" in found["classes.1"]
    with store.read() as connection:
        assert len(jobs.list_jobs(connection).data) == 1


def test_what_a_spec_refers_to_must_be_there_and_ready(store: Store) -> None:
    blob = store.blobs.put_stream([b"zip"])
    with store.write() as connection:
        checking = datasets.create(connection, store.blobs, blob, name="new").id
        invalid = datasets.create(connection, store.blobs, blob, name="bad").id
        datasets.claim_check(connection, invalid, 60)
        datasets.finish_check(connection, invalid, 1, error={"code": "invalid_dataset", "message": "x", "faults": []})
    assert "looked through" in faults(store, dataset=checking)["dataset"]
    assert "faults" in faults(store, dataset=invalid)["dataset"]
    assert "no data set" in faults(store, dataset="ds_" + "0" * 26)["dataset"]
    assert "two classes" in faults(store, dataset=ready_dataset(store, {"only": 5}))["classes"]
    assert "no job" in faults(store, initial_weights="job_" + "0" * 26)["initial_weights"]
    assert "is queued" in faults(store, initial_weights=submit(store).id)["initial_weights"]


def test_the_head_and_the_image_size_may_differ_from_the_initial_weights(store: Store) -> None:
    first = succeeded(store, classes=["0", "1", "2"], method={"name": "qat"})
    larger = {**TINY["architecture"], "image_size": 16}
    assert submit(store, classes=["3", "4"], initial_weights=first, architecture=larger).state is JobState.QUEUED


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_initial_weights_are_of_the_same_network_whichever_it_is(store: Store, name: str) -> None:
    mine: dict[str, Any] = {**TINY["architecture"], "name": name}
    first = succeeded(store, architecture=mine)
    assert submit(store, initial_weights=first, architecture=mine).state is JobState.QUEUED
    for other in ARCHITECTURES.keys() - {name}:
        found = faults(store, initial_weights=first, architecture={**mine, "name": other})
        assert found.keys() == {"architecture.name"}
    own = ARCHITECTURES[name].model_fields.keys() & {"stem", "shortcuts"}
    for field in own:
        value = True if field == "shortcuts" else "imagenet"
        changed = {**mine, field: value, "image_size": 32}
        assert faults(store, initial_weights=first, architecture=changed).keys() == {f"architecture.{field}"}


def test_a_teacher_is_pinned_and_may_be_any_network(store: Store) -> None:
    larger = {**TINY["architecture"], "name": "vgg16", "width": 0.25}
    teacher = succeeded(store, architecture=larger, method={"name": "fp32"}, classes=["0", "1"])
    job = submit(store, teacher=teacher, classes=["0", "1"], training={"distillation": {"weight": 0.9}})
    with store.read() as connection:
        assert job.teacher_sha256 == artifacts.get(connection, teacher, "model.safetensors").sha256


def test_a_teacher_that_cannot_teach_is_refused(store: Store) -> None:
    other = succeeded(store, classes=["3", "4"], architecture={**TINY["architecture"], "image_size": 16})
    found = faults(store, classes=["4", "3"], teacher=other)
    assert found.keys() == {"teacher", "architecture.image_size"}
    assert "same classes" in found["teacher"]
    assert "no job" in faults(store, teacher="job_" + "0" * 26)["teacher"]
    assert "is queued; only a succeeded job has a model" in faults(store, teacher=submit(store).id)["teacher"]
    assert (
        "name a succeeded job or a model as `teacher`"
        in faults(store, training={"distillation": {}})["training.distillation"]
    )


def test_options_of_training_must_fit_the_method_and_the_data(store: Store) -> None:
    found = faults(store, method={"name": "fp32"}, training={"optimizer": "muon", "epochs": 1, "warmup_steps": 12})
    assert found.keys() == {"training.optimizer", "training.warmup_steps"}  # 1438 images, 128 a step
    assert "12 steps in all" in found["training.warmup_steps"]
    assert submit(store, training={"optimizer": "muon", "epochs": 1, "warmup_steps": 11}).state is JobState.QUEUED


def test_a_built_in_data_set_must_be_installed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fqt_core.config.builtin.BuiltinDataset.installed", lambda _self: False)
    assert "needs the Python package scikit-learn" in faults(store)["dataset"]


def test_lists_go_newest_first_page_by_page(store: Store) -> None:
    ids = [submit(store).id for _ in range(5)][::-1]
    with store.write() as connection:
        jobs.request_cancel(connection, ids[1])
    with store.read() as connection:
        first = jobs.list_jobs(connection, limit=2)
        rest = jobs.list_jobs(connection, after=first.data[-1].id, limit=3)
        assert [job.id for job in first.data + rest.data] == ids
        assert (first.has_more, rest.has_more) == (True, False)
        cancelled = jobs.list_jobs(connection, states=[JobState.CANCELLED, JobState.FAILED])
        assert [job.id for job in cancelled.data] == [ids[1]]
        counts = jobs.counts(connection)
        assert (counts[JobState.QUEUED], counts[JobState.CANCELLED], counts[JobState.FAILED]) == (4, 1, 0)
        with pytest.raises(NotFoundError):
            jobs.get(connection, "job_none")


def test_cancelling_twice_changes_nothing_and_an_end_stays_an_end(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        first = jobs.request_cancel(connection, job.id)
        assert first.state is JobState.CANCELLING
        assert jobs.request_cancel(connection, job.id) == first
        with pytest.raises(IllegalMoveError):
            jobs.request_pause(connection, job.id)
        lease.release(connection, job.id, 1, reason="cancelled")
        assert jobs.request_cancel(connection, job.id).state is JobState.CANCELLED
    done = succeeded(store)
    with pytest.raises(IllegalMoveError), store.write() as connection:
        jobs.request_cancel(connection, done)


def test_pause_and_resume(store: Store) -> None:
    job = submit(store)
    with store.write() as connection:
        assert jobs.request_pause(connection, job.id).state is JobState.PAUSED
        assert lease.claim(connection, ["cpu"], "me", 60) is None
        assert jobs.resume(connection, job.id).state is JobState.QUEUED
        assert lease.claim(connection, ["cpu"], "me", 60) is not None


def test_a_finished_job_goes_with_all_its_files_but_not_those_that_others_need(store: Store) -> None:
    first = succeeded(store)
    follower = submit(store, initial_weights=first, teacher=first)
    weights, model = follower.initial_weights_sha256, follower.teacher_sha256
    assert weights is not None
    assert model is not None
    with pytest.raises(JobNotFinishedError), store.write() as connection:
        jobs.remove(connection, follower.id)
    with store.write() as connection:
        digests = jobs.remove(connection, first)
    assert store.collect(digests) == 0
    assert store.blobs.exists(weights)
    assert store.blobs.exists(model)
    with store.write() as connection:
        jobs.request_cancel(connection, follower.id)
        digests = jobs.remove(connection, follower.id)
    assert store.collect(digests) == 2
    assert not store.blobs.exists(weights)
    assert not store.blobs.exists(model)


def test_a_data_set_in_use_stays(store: Store) -> None:
    dataset = ready_dataset(store, {"a": 9, "b": 9})
    job = submit(store, dataset=dataset)
    with pytest.raises(DatasetInUseError, match=job.id), store.write() as connection:
        datasets.remove(connection, dataset)
    with store.write() as connection:
        jobs.request_cancel(connection, job.id)
        digests = datasets.remove(connection, dataset)
    assert store.collect(digests) == 1
    after = get(store, job.id)
    assert after.dataset_id is None
    assert after.dataset_sha256 == digests[0]


def test_the_newest_checkpoints_are_kept(store: Store) -> None:
    job = running(store)
    shas = []
    for step in (10, 20, 30):
        blob = store.blobs.put_stream([b"%d" % step])
        shas.append(blob.sha256)
        with store.write() as connection:
            dropped = checkpoints.add(connection, store.blobs, job.id, 1, blob, step=step, keep=2)
        store.collect(dropped)
    with store.read() as connection:
        assert [row.step for row in checkpoints.list_checkpoints(connection, job.id)] == [30, 20]
    assert [store.blobs.exists(sha) for sha in shas] == [False, True, True]


def test_the_best_checkpoint_outlives_newer_ones_where_that_is_wanted(store: Store) -> None:
    job = running(store)

    def write(step: int, best: bool, keep_best: bool = True) -> list[int]:
        blob = store.blobs.put_stream([b"%d" % step])
        details = {"best": True} if best else {}
        with store.write() as connection:
            dropped = checkpoints.add(
                connection, store.blobs, job.id, 1, blob, step=step, keep=2, keep_best=keep_best, details=details
            )
        store.collect(dropped)
        with store.read() as connection:
            kept = checkpoints.list_checkpoints(connection, job.id)
        assert all(store.blobs.exists(row.sha256) for row in kept)
        return [row.step for row in kept]

    assert write(10, best=True) == [10]
    assert write(20, best=False) == [20, 10]
    assert write(30, best=False) == [30, 20, 10]
    assert write(40, best=True) == [40, 30]  # a better one: the best before it is of no more use
    assert write(50, best=False) == [50, 40]
    assert write(60, best=False) == [60, 50, 40]
    assert write(70, best=False, keep_best=False) == [70, 60]


def test_a_step_that_was_repeated_replaces_what_came_after_it(store: Store) -> None:
    job = running(store)
    for step in (10, 20, 10):
        blob = store.blobs.put_stream([b"same" if step == 10 else b"later"])
        with store.write() as connection:
            dropped = checkpoints.add(connection, store.blobs, job.id, 1, blob, step=step, keep=5)
        store.collect(dropped)
    with store.read() as connection:
        kept = checkpoints.list_checkpoints(connection, job.id)
    assert [row.step for row in kept] == [10]
    assert store.blobs.exists(kept[0].sha256)


def test_files_of_a_lost_attempt_leave_no_rows(store: Store) -> None:
    job = running(store)
    blob = store.blobs.put_stream([b"late"])
    for add in (
        lambda c: checkpoints.add(c, store.blobs, job.id, 2, blob, step=1, keep=2),
        lambda c: artifacts.add(c, store.blobs, job.id, 2, blob, name="m", kind="model"),
    ):
        with pytest.raises(LeaseLostError), store.write() as connection:
            add(connection)
    with store.read() as connection:
        assert checkpoints.list_checkpoints(connection, job.id) == []
        assert artifacts.list_artifacts(connection, job.id) == []
        assert blob_rows.unreferenced(connection, older_than_seconds=-1) == []
    assert state(store, job.id) is JobState.RUNNING


def test_an_artifact_of_a_later_attempt_replaces_the_earlier_one(store: Store) -> None:
    job = running(store)
    with store.write() as connection:
        for content in (b"one", b"two", b"two"):
            blob = store.blobs.put_stream([content])
            replaced = artifacts.add(connection, store.blobs, job.id, 1, blob, name="m", kind="model")
        assert replaced == []
        assert artifacts.get(connection, job.id, "m").sha256 == blob.sha256
        with pytest.raises(NotFoundError):
            artifacts.get(connection, job.id, "other")
