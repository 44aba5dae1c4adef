"""What the parameters of paths stand for, for tests that walk through every operation of the API.

A new resource adds its path parameter to ``PATH``: a function that makes one of it, for the first organisation, and
returns its id. Where an operation needs more than that to be asked properly, it is in ``QUERY`` or ``BODY``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from jobs import blob_rows, datasets, deliveries, keys, models, sweeps, webhooks
from jobs.store import Store
from jobs.sweep_spec import SweepSpec
from jobs.tables import DEFAULT_ORGANISATION
from jobs.tables import deliveries as delivery_table
from jobs.tables import webhooks as webhook_table
from tests.api.conftest import SPEC, Attempt, archive, png, submit


@dataclass(frozen=True)
class Scene:
    """An API with a key of the first organisation, which ``client`` sends, and what is kept below it."""

    client: TestClient
    store: Store


_SWEEP = {
    "base": SPEC,
    "space": {"training.learning_rate": {"type": "choice", "values": [0.001, 0.003]}},
    "algorithm": "grid",
    "metric": "validation_accuracy",
    "direction": "maximize",
}


def a_job(scene: Scene) -> str:
    """A job that has succeeded, with a result file ``report.json``, a checkpoint and a model."""
    job_id = submit(scene.client)
    attempt = Attempt(scene.store, job_id)
    attempt.checkpoint(1, job_id.encode())
    attempt.artifact("report.json", b"{}")
    attempt.artifact("model.safetensors", job_id.encode(), kind="model")
    attempt.artifact("examples.webp", b"RIFF", kind="examples")
    attempt.succeed()
    return job_id


def a_dataset(scene: Scene) -> str:
    """An uploaded data set that was looked through, with thumbnails."""
    store = scene.store
    blob, sheet = store.blobs.put_stream([archive()]), store.blobs.put_stream([b"thumbnails"])
    profile = {"format": "folders", "classes": [{"name": "a", "count": 1}], "image_count": 1}
    with store.write() as connection:
        made = datasets.create(connection, store.blobs, blob, name="mine")
        looked = datasets.claim_check(connection, made.id, 60)
        if looked is not None:  # the first with these bytes
            blob_rows.register(connection, store.blobs, sheet)
            datasets.finish_check(connection, made.id, looked.check_epoch, profile=profile, thumbnails=sheet)
    return made.id


def a_key(scene: Scene) -> str:
    """A key that may read."""
    with scene.store.write() as connection:
        return keys.create(connection, scene.store.key_secret, name="mine", scopes=["read"])[0].id


def a_model(scene: Scene) -> str:
    """The model of a job, exported once."""
    job_id = a_job(scene)
    blob = scene.store.blobs.put_stream([b"onnx"])
    with scene.store.write() as connection:
        model = models.list_models(connection, organisation=DEFAULT_ORGANISATION, job_id=job_id).data[0]
        models.add_export(connection, scene.store.blobs, blob, model_id=model.id, format="onnx", details={})
    return model.id


def a_sweep(scene: Scene) -> str:
    """A sweep that has made no job yet."""
    with scene.store.write() as connection:
        return sweeps.create(connection, SweepSpec.model_validate(_SWEEP), organisation=DEFAULT_ORGANISATION).id


def a_webhook(scene: Scene) -> str:
    """Where to tell of events."""
    with scene.store.write() as connection:
        return webhooks.create(connection, organisation=DEFAULT_ORGANISATION, url="https://example.com/hook").id


def a_delivery(scene: Scene) -> str:
    """A delivery that has failed, of the webhook that was made last."""
    with scene.store.write() as connection:
        webhook = connection.execute(select(func.max(webhook_table.c.id))).scalar_one()
        made = deliveries.test(connection, webhook, organisation=DEFAULT_ORGANISATION).id
        connection.execute(update(delivery_table).where(delivery_table.c.id == made).values(state="failed"))
    return made


PATH: Mapping[str, Callable[[Scene], str]] = {
    "job_id": a_job,
    "dataset_id": a_dataset,
    "key_id": a_key,
    "model_id": a_model,
    "format": lambda _scene: "onnx",  # of the model before it
    "layer": lambda _scene: "conv1",  # of the model before it
    "sweep_id": a_sweep,
    "webhook_id": a_webhook,
    "delivery_id": a_delivery,  # of the webhook before it
    "name": lambda _scene: "report.json",  # of the job before it
}

QUERY: Mapping[str, Callable[[Scene], str]] = {}
"""Required query parameters, by name: things of the first organisation that an operation is about."""

_HEADER = b"\x02\0\0\0\0\0\0\0{}"

BODY: Mapping[str, Callable[[Scene], dict[str, Any]]] = {
    "compare_jobs": lambda scene: {"params": {"job": a_job(scene)}},
    "compare_many_jobs": lambda scene: {"json": {"jobs": [a_job(scene)]}},
    "create_job": lambda _scene: {"json": SPEC},
    "create_key": lambda _scene: {"json": {"name": "made", "scopes": ["read"]}},
    "create_sweep": lambda _scene: {"json": _SWEEP},
    "create_webhook": lambda _scene: {"json": {"url": "https://example.com/hook"}},
    "import_from_folder": lambda _scene: {"json": {"folder": "pets"}, "params": {"wait": 0}},
    "import_from_url": lambda _scene: {"json": {"url": "https://example.com/a.zip"}, "params": {"wait": 0}},
    "export_model": lambda _scene: {"json": {"format": "onnx"}},
    "predict": lambda _scene: {"json": {"images": [base64.b64encode(png()).decode()]}},
    "upload_model": lambda _scene: {"files": {"file": ("a.safetensors", _HEADER)}},
    "openai_create_job": lambda _scene: {"json": {"model": "resnet18", "training_file": "digits"}},
    "openai_upload_file": lambda _scene: {"files": {"file": ("a.zip", archive())}, "data": {"purpose": "fine-tune"}},
    "upload_dataset": lambda _scene: {"files": {"file": ("a.zip", archive())}, "params": {"wait": 0}},
}
"""Bodies, by operation, as arguments of the client's ``request``; others are sent ``{}`` as JSON, or an empty file."""

ABOUT_BODY = frozenset({"compare_jobs", "compare_many_jobs"})
"""Operations whose body or optional query names what they are about, instead of their path."""

OPERATOR_ONLY = frozenset({"prometheus"})
"""Operations about the whole service, over all organisations: keys of other organisations get 403."""

TELLS_ATTEMPTS = frozenset({"list_audit_entries"})
"""Operations that tell an organisation what its own keys have asked for: with ids that are others'."""

ASKS_WORKERS = frozenset({"predict", "list_layers", "get_layer", "upload_model"})
"""Operations that need a worker's answer; there is none here, and 503 says so."""
