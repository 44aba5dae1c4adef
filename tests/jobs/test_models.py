"""A job's model is registered with the job's end or not at all, and its files stay as long as anything names them."""

from __future__ import annotations

from typing import Any

import pytest

from jobs import artifacts, completion, events, jobs, lease, models
from jobs.audit import audit
from jobs.blobs import Blob
from jobs.errors import InvalidSpecError, LeaseLostError, NotFoundError
from jobs.ids import new_id
from jobs.records import Job, Model
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from tests.jobs.helpers import claim, get, running, spec, submit


def _leave_files(store: Store, job: Job) -> list[Blob]:
    kinds = ("model", "weights", "examples")
    blobs = [store.blobs.put_stream([f"{kind} of {job.id}".encode()]) for kind in kinds]
    for kind, blob in zip(kinds, blobs, strict=True):
        with store.write() as connection:
            name = f"{kind}.safetensors"
            artifacts.add(connection, store.blobs, job.id, job.lease_epoch, blob, name=name, kind=kind)
    return blobs


def _complete(store: Store, job: Job) -> Model:
    model_id = new_id(models.PREFIX)
    with store.write() as connection:
        completion.complete(connection, store.blobs, job, {"classes": ["0", "1"]}, model_id=model_id)
        return models.get(connection, model_id, organisation=DEFAULT_ORGANISATION)


def test_an_attempt_that_lost_its_job_registers_nothing(store: Store) -> None:
    late = running(store)
    _leave_files(store, late)
    with store.write() as connection:
        lease.release(connection, late.id, late.lease_epoch, reason="worker_lost")
    now = claim(store)
    assert now is not None
    with pytest.raises(LeaseLostError):
        _complete(store, late)
    with store.read() as connection:
        assert models.list_models(connection, organisation=DEFAULT_ORGANISATION).data == []
        assert "card.md" not in {row.name for row in artifacts.list_artifacts(connection, late.id)}
    made = _complete(store, now)
    with pytest.raises(LeaseLostError):  # it has ended
        _complete(store, now)
    with store.read() as connection:
        assert [row.id for row in models.list_models(connection, organisation=DEFAULT_ORGANISATION).data] == [made.id]
    assert (get(store, now.id).result or {})["model"] == made.id


def _ended(store: Store, accuracy: float, **changes: object) -> tuple[Job, list[dict[str, Any]], str]:
    """A job of one file that reached so much: the job, its warnings, and its model's card."""
    made = submit(store, **changes)
    job = claim(store)
    assert job is not None
    assert job.id == made.id
    _leave_files(store, job)
    reached = {"validation_accuracy": accuracy, "validation_images": 100, "train_images": 400, "classes": ["0", "1"]}
    with store.write() as connection:
        completion.complete(connection, store.blobs, job, reached, model_id=new_id(models.PREFIX))
        told = [dict(event.data) for event in events.read(connection, job.id, types=["warning"])]
        card = next(row for row in artifacts.list_artifacts(connection, job.id) if row.name == "card.md")
    with store.blobs.open(card.sha256) as file:
        return get(store, job.id), told, file.read().decode()


def test_a_job_that_ends_below_its_parent_says_so(store: Store) -> None:
    parent, told, card = _ended(store, 0.9)
    assert (told, "setback" in (parent.result or {})) == ([], False)
    model_id = (parent.result or {})["model"]
    child, [warning], card = _ended(store, 0.6, initial_weights=parent.id, training={"epochs": 1})
    assert (warning["code"], warning["model"], warning["validation_accuracy"]) == ("below_parent", model_id, 0.9)
    assert warning["message"] == (
        f"the accuracy, 60.0%, is below the 90.0% of the model that the job started from ({model_id}): try the preset "
        "`balanced`, smaller batches, more epochs or a lower learning_rate; or keep that model"
    )
    assert (child.result or {})["setback"]["message"] == warning["message"]
    assert "| accuracy of the model that it started from | 90.00%: more than this |" in card
    balanced = {"name": "fqt", "preset": "balanced"}
    _, [warning], _ = _ended(store, 0.6, initial_weights=model_id, method=balanced, training={"epochs": 100})
    assert "try the preset `accurate`, more epochs or" in warning["message"]
    _, told, card = _ended(store, 0.88, initial_weights=model_id)  # two images of a hundred are chance
    assert (told, "started from |" in card.split("## Where")[0]) == ([], False)


def test_files_stay_as_long_as_a_model_a_job_or_an_export_names_them(store: Store) -> None:
    job = running(store)
    packed, full, examples = _leave_files(store, job)
    made = _complete(store, job)
    assert (made.sha256, made.weights_sha256, made.job_id) == (packed.sha256, full.sha256, job.id)
    exported = store.blobs.put_stream([b"onnx"])
    with store.write() as connection:
        for _ in range(2):
            row = models.add_export(
                connection, store.blobs, exported, model_id=made.id, format="onnx", details={"opset": 18}
            )
            assert row.sha256 == exported.sha256
        assert [row.format for row in models.list_exports(connection, made.id)] == ["onnx"]
        assert models.get_export(connection, made.id, models.EXAMPLES).sha256 == examples.sha256
    child = submit(store, initial_weights=made.id)
    assert child.initial_weights_sha256 == full.sha256
    with store.write() as connection:
        digests = jobs.remove(connection, job.id)
    store.collect(digests)
    assert all(store.blobs.exists(blob.sha256) for blob in (packed, full, examples, exported))
    assert audit(store).sound

    with store.write() as connection, pytest.raises(NotFoundError):
        models.remove(connection, made.id, organisation="org_other")
    with store.write() as connection:
        digests = models.remove(connection, made.id, organisation=DEFAULT_ORGANISATION)
    store.collect(digests)
    assert [store.blobs.exists(blob.sha256) for blob in (packed, full, examples, exported)] == [
        False,
        True,
        False,
        False,
    ]
    with store.write() as connection:
        jobs.request_cancel(connection, child.id)
        digests = jobs.remove(connection, child.id)
    store.collect(digests)
    assert not store.blobs.exists(full.sha256)
    assert audit(store).sound


def test_a_packed_upload_teaches_and_does_not_start_jobs(store: Store) -> None:
    described = spec()
    facts = {
        "format": "packed",
        "architecture": described.architecture.model_dump(mode="json"),
        "method": {"name": "qat"},
        "classes": [str(n) for n in range(10)],
    }
    with store.write() as connection:
        blob = store.blobs.put_stream([b"packed"])
        made = models.create(connection, store.blobs, blob, organisation=DEFAULT_ORGANISATION, facts=facts)
    assert submit(store, teacher=made.id).teacher_sha256 == blob.sha256
    with pytest.raises(InvalidSpecError, match="one bit per weight only"):
        submit(store, initial_weights=made.id)
