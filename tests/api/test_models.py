"""The registry over HTTP: upload, predict, export, cards, and what happens when nobody answers."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import redis
from PIL import Image

from fqt_client import Client, InvalidRequestError, LocalFileError, NotFoundError
from fqt_core import export
from jobs import completion, keys, models
from jobs.ids import new_id
from jobs.tables import DEFAULT_ORGANISATION
from tests.api.conftest import Attempt, submit
from tests.api.registry import CLASSES, TINY, Bridge, Registry, packed, picture, registry, weights
from tests.worker.helpers import until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("registry"), f"{valkey_url[:-1]}1") as made:
        yield made


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return packed(tmp_path_factory.mktemp("models"), metrics={"validation_accuracy": 0.5})


@pytest.fixture(scope="module")
def model(service: Registry, content: bytes) -> dict[str, Any]:
    answer = service.upload(content, name="three animals")
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_an_upload_is_known_for_what_it_is(service: Registry, model: dict[str, Any], content: bytes) -> None:
    assert (model["name"], model["source"], model["format"]) == ("three animals", "upload", "packed")
    assert (model["architecture"]["name"], model["classes"]) == ("convnet", CLASSES)
    assert (model["size"], model["arithmetic"], model["has_full_weights"]) == (len(content), "integer", False)
    assert model["binary_parameters"] < model["parameters"]
    assert service.client.get(f"/v1/models/{model['id']}").json() == model

    file = service.client.get(f"/v1/models/{model['id']}/file")
    assert (file.content, file.headers["etag"]) == (content, f'"{model["sha256"]}"')
    part = service.client.get(f"/v1/models/{model['id']}/file", headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, content[8:16])
    unchanged = service.client.get(f"/v1/models/{model['id']}/file", headers={"If-None-Match": file.headers["etag"]})
    assert unchanged.status_code == 304


def test_predictions_are_those_of_the_library(
    service: Registry, model: dict[str, Any], content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "model").write_bytes(content)
    images = [picture(shade, size, kind) for shade, size, kind in ((0, 8, "PNG"), (90, 30, "BMP"), (200, 8, "WEBP"))]
    opened = [Image.open(io.BytesIO(data)) for data in images]
    expected = export.load(tmp_path / "model").predict(opened, top=2)
    url = f"/v1/models/{model['id']}/predict"
    asked = {"images": [base64.b64encode(data).decode() for data in images], "top_k": 2}
    answer = service.client.post(url, json=asked)
    assert answer.status_code == 200, answer.text
    found = answer.json()["predictions"]
    assert [entry["label"] for entry in found] == [entry.label for entry in expected]
    for entry, row in zip(found, expected, strict=True):
        assert [share["label"] for share in entry["top"]] == [label for label, _ in row.top]
        assert [share["probability"] for share in entry["top"]] == pytest.approx([share for _, share in row.top])
    form = service.client.post(url, files=[("image", data) for data in images], data={"top_k": "2"})
    nameless = [("image", (None, data, "image/png")) for data in images]
    assert service.client.post(url, files=nameless, data={"top_k": "2"}).json() == form.json()
    assert form.json() == answer.json()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"images": []}, 422, "images"),
        ({"images": ["?"]}, 422, "images.0"),
        ({"images": ["aGVsbG8="]}, 422, "images.0"),
        (
            {"images": [base64.b64encode(picture()).decode(), base64.b64encode(picture()[:60]).decode()]},
            422,
            "images.1",
        ),
        ({"images": ["aGVsbG8="], "top_k": 0}, 422, "top_k"),
        ({"images": ["aGVsbG8="], "top_k": True}, 422, "top_k"),
        ({"images": ["aGVsbG8="] * 65}, 422, "images"),
        ({"pictures": []}, 422, "pictures"),
        ({"images": ["A" * (9 << 20)]}, 413, None),
    ],
)
def test_what_is_no_image_is_told(
    service: Registry, model: dict[str, Any], body: Any, status: int, field: str | None
) -> None:
    answer = service.client.post(f"/v1/models/{model['id']}/predict", json=body)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert field in {error["field"] for error in answer.json()["errors"]}


def test_forms_and_bodies_that_are_none(service: Registry, model: dict[str, Any]) -> None:
    url = f"/v1/models/{model['id']}/predict"
    text = service.client.post(url, content=b"x", headers={"Content-Type": "text/plain"})
    assert text.status_code == 415
    bare = service.client.post(url, content=b"x", headers={"Content-Type": "multipart/form-data"})
    assert bare.status_code == 400
    other = service.client.post(url, files={"photo": picture()})
    assert (other.status_code, other.json()["errors"][0]["field"]) == (422, "photo")
    empty = service.client.post(url, files={"image": b""})
    assert (empty.status_code, empty.json()["errors"][0]["field"]) == (422, "images.0")


def test_an_export_is_made_once_and_runs(service: Registry, model: dict[str, Any]) -> None:
    url = f"/v1/models/{model['id']}/exports"
    assert service.client.get(url).json()["data"] == []
    made = service.client.post(url, json={"format": "onnx"})
    assert made.status_code == 201, made.text
    assert made.json()["details"]["checked"]["within"] >= 7
    begin = time.monotonic()
    again = service.client.post(url, json={"format": "onnx"})
    assert (again.status_code, again.json(), time.monotonic() - begin < 0.5) == (200, made.json(), True)
    assert service.client.get(url).json()["data"] == [made.json()]
    file = service.client.get(made.headers["location"])
    assert file.headers["etag"] == f'"{made.json()["sha256"]}"'
    session = onnxruntime.InferenceSession(file.content)
    assert session.get_inputs()[0].shape == ["N", 1, 8, 8]
    assert service.client.post(url, json={"format": "pickle"}).status_code == 422


def test_layers_and_their_weights_are_told(service: Registry, model: dict[str, Any], content: bytes) -> None:
    url = f"/v1/models/{model['id']}/layers"
    layers = service.client.get(url).json()["data"]
    assert sum(row["weights"] for row in layers if row["bits"] == 1) == model["binary_parameters"]
    assert (layers[0]["kind"], layers[0]["bits"]) == ("conv2d", 32)
    binary = next(row for row in layers if row["bits"] == 1)
    whole = service.client.get(f"{url}/{binary['name']}", params={"count": 4096}).json()
    assert base64.b64decode(whole["data"]) in content, "as in the file"
    assert len(whole["scales"]) == whole["count"] == binary["shape"][0]
    two = service.client.get(f"{url}/{binary['name']}", params={"first": 1, "count": 2}).json()
    assert (two["first"], two["count"], two["scales"]) == (1, 2, whole["scales"][1:3])
    unknown = service.client.get(f"{url}/conv99")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    assert "conv99" in unknown.json()["detail"]
    assert service.client.get(f"{url}/{binary['name']}", params={"count": 0}).status_code == 422
    assert service.client.get(f"/v1/models/{model['id']}/examples").status_code == 404, "an upload has none"


def test_examples_of_confusions_outlive_the_job(service: Registry) -> None:
    layout = {"side": 8, "columns": 6, "cells": [[0, 1, 2]]}
    job_id = submit(service.client)
    attempt = Attempt(service.store, job_id)
    attempt.artifact("model.safetensors", job_id.encode(), kind="model")
    attempt.artifact("examples.webp", b"RIFF" + job_id.encode(), kind="examples", details=layout)
    attempt.succeed()
    model_id = service.client.get(f"/v1/jobs/{job_id}").json()["result"]["model"]
    assert service.client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert service.client.get(f"/v1/models/{model_id}").json()["evaluation"]["examples"] == layout
    assert service.client.get(f"/v1/models/{model_id}/exports").json()["data"] == []
    picture = service.client.get(f"/v1/models/{model_id}/examples")
    assert (picture.content, picture.headers["content-type"]) == (b"RIFF" + job_id.encode(), "image/webp")
    assert "sandbox" in picture.headers["content-security-policy"]
    again = service.client.get(f"/v1/models/{model_id}/examples", headers={"If-None-Match": picture.headers["etag"]})
    assert again.status_code == 304


def test_weights_start_jobs_and_do_not_predict(service: Registry, tmp_path: Path) -> None:
    answer = service.upload(weights(tmp_path))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["format"], made["architecture"], made["has_full_weights"]) == ("weights", {"name": "convnet"}, True)
    for path, body in (("predict", {"images": ["AAAA"]}), ("exports", {"format": "onnx"})):
        refused = service.client.post(f"/v1/models/{made['id']}/{path}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (409, "model_not_usable")
    assert "do not predict alone" in service.client.get(f"/v1/models/{made['id']}/card").text
    spec = {"architecture": TINY.model_dump(mode="json"), "initial_weights": made["id"]}
    job = service.client.get(f"/v1/jobs/{submit(service.client, **spec)}").json()
    assert job["spec"]["initial_weights"] == made["id"]
    assert service.client.delete(f"/v1/models/{made['id']}").status_code == 204
    assert service.store.blobs.exists(made["sha256"])  # the job needs it
    wrong = service.client.post("/v1/jobs", json={"dataset": "digits", **spec, "teacher": made["id"]})
    assert {error["field"] for error in wrong.json()["errors"]} == {"initial_weights", "teacher"}


def test_a_finished_job_leaves_a_model_that_outlives_it(service: Registry, content: bytes, tmp_path: Path) -> None:
    client, store = service.client, service.store
    name = "# <b>digits</b> | ![x](y)"
    job_id = submit(client, name=name, architecture=TINY.model_dump(mode="json"))
    attempt = Attempt(store, job_id)
    epochs = [{"kind": "epoch", "step": n * 4, "train_loss": 1 / n, "validation_accuracy": n / 4} for n in (1, 2, 3)]
    attempt.report(*(("metric", row) for row in epochs), record={"arithmetic": "integer", "isa": "avx2"})
    attempt.artifact("model.safetensors", content, "model")
    attempt.artifact("weights.safetensors", weights(tmp_path), "weights")
    confusion = {
        "data": "validation", "images": 4, "classes": ["a|b", "c", "d"], "right": [1, 1, 1], "of": [2, 1, 1],
        "matrix": [[1, 1, 0], [0, 1, 0], [0, 0, 1]], "most_confused": [{"true": 0, "predicted": 1, "count": 1}],
    }  # fmt: skip
    result = {"classes": CLASSES, "validation_accuracy": 0.75, "confusion": confusion, "validation_images": 4}
    model_id = new_id("mdl")
    with store.write() as connection:
        completion.complete(connection, store.blobs, attempt.job, result, model_id=model_id)

    assert client.get(f"/v1/jobs/{job_id}").json()["result"]["model"] == model_id
    listed = client.get("/v1/models", params={"job": job_id, "architecture": "convnet", "method": "fqt"}).json()
    assert [(row["id"], row["evaluation"]) for row in listed["data"]] == [(model_id, None)]
    assert client.get("/v1/models", params={"job": job_id, "method": "qat"}).json()["data"] == []
    made = client.get(f"/v1/models/{model_id}").json()
    assert (made["lineage"]["job"], made["lineage"]["dataset"], made["has_full_weights"]) == (job_id, "digits", True)
    assert made["evaluation"]["confusion"] == confusion
    card = client.get(f"/v1/models/{model_id}/card")
    assert card.headers["content-type"].startswith("text/markdown")
    assert card.content == client.get(f"/v1/jobs/{job_id}/artifacts/card.md").content
    for told in ("75.00%", "| **a\\|b** | 1 | 1 | 0 |", "integer", f"fqt predict {model_id}", "data:image/svg+xml"):
        assert told in card.text
    assert card.text.startswith("# \\# \\<b\\>digits\\</b\\> \\| \\!\\[x\\]\\(y\\)\n")

    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/models/{model_id}/file").content == content
    child = submit(client, architecture=TINY.model_dump(mode="json"), initial_weights=model_id)
    assert client.post(f"/v1/jobs/{child}/cancel").json()["state"] == "cancelled"
    assert client.delete(f"/v1/jobs/{child}").status_code == 204
    assert client.delete(f"/v1/models/{model_id}").status_code == 204
    assert client.get(f"/v1/models/{model_id}").status_code == 404
    assert not store.blobs.exists(client_sha := made["sha256"]) or client_sha in _used(store)


def _used(store: Any) -> set[str]:
    from jobs import blob_rows

    with store.read() as connection:
        return blob_rows.referenced(connection)


def test_pages_of_models_and_repeated_uploads(service: Registry, content: bytes) -> None:
    headers = {"Idempotency-Key": "once"}
    files = {"file": ("pets.safetensors", content)}
    first, second = (service.client.post("/v1/models", files=files, headers=headers) for _ in range(2))
    assert (first.status_code, second.json(), second.headers["idempotent-replayed"]) == (201, first.json(), "true")
    assert first.json()["name"] == "pets"
    page = service.client.get("/v1/models", params={"limit": 1}).json()
    assert ([row["id"] for row in page["data"]], page["has_more"]) == ([first.json()["id"]], True)
    rest = service.client.get("/v1/models", params={"after": first.json()["id"]}).json()
    assert first.json()["id"] not in {row["id"] for row in rest["data"]}


def test_another_organisation_sees_nothing(service: Registry, model: dict[str, Any]) -> None:
    with service.store.write() as connection:
        _, plain = keys.create(
            connection, service.store.key_secret, name="other", scopes=["admin"], organisation="org_other"
        )
    headers = {"Authorization": f"Bearer {plain}"}
    ask = service.client.request
    base = f"/v1/models/{model['id']}"
    assert ask("GET", "/v1/models", headers=headers).json()["data"] == []
    for verb, path, body in [
        ("GET", base, None), ("DELETE", base, None), ("GET", f"{base}/file", None), ("GET", f"{base}/card", None),
        ("GET", f"{base}/exports", None), ("GET", f"{base}/exports/onnx", None),
        ("POST", f"{base}/exports", {"format": "onnx"}), ("POST", f"{base}/predict", {"images": ["AAAA"]}),
    ]:  # fmt: skip
        assert ask(verb, path, json=body, headers=headers).status_code == 404, path
    spec = {"dataset": "digits", "architecture": TINY.model_dump(mode="json"), "teacher": model["id"]}
    told = ask("POST", "/v1/jobs?dry_run=true", json=spec, headers=headers)
    assert [error["message"] for error in told.json()["errors"]] == [f"there is no model {model['id']!r}"]
    with service.store.read() as connection:
        assert models.get(connection, model["id"], organisation=DEFAULT_ORGANISATION)


def test_a_predictor_that_is_killed_is_replaced(service: Registry, model: dict[str, Any]) -> None:
    url = f"/v1/models/{model['id']}/predict"
    body = {"images": [base64.b64encode(picture()).decode()]}
    before = service.client.post(url, json=body).json()
    child = service.listeners[0]._child._child
    assert child is not None
    assert "NoNewPrivs:\t1" in Path(f"/proc/{child.pid}/status").read_text()
    (bound,) = [line for line in Path(f"/proc/{child.pid}/limits").read_text().splitlines() if "Max data size" in line]
    assert int(bound.split()[3]) <= service.store.settings.predictor_memory_bytes
    answers: list[int] = []
    os.kill(child.pid, signal.SIGSTOP)  # the question reaches it, and no answer comes
    thread = threading.Thread(target=lambda: answers.append(service.client.post(url, json=body).status_code))
    thread.start()
    time.sleep(0.3)
    os.kill(child.pid, signal.SIGKILL)
    thread.join(20)
    assert answers == [503]
    assert service.client.post(url, json=body).json() == before


def test_nobody_hangs_when_nobody_answers(tmp_path: Path, valkey_url: str, content: bytes) -> None:
    """A child that never answers, no worker at all, and no broker: each ends with a problem that names the remedy."""
    broker = f"{valkey_url[:-1]}2"  # where no other desk listens
    mute = [sys.executable, "-c", "import time; time.sleep(60)"]
    with registry(tmp_path / "mute", broker, mute, predict_seconds=0.5, export_seconds=0.5) as made:
        begin = time.monotonic()
        answer = made.upload(content)
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
        assert time.monotonic() - begin < 4
        assert not made.store.blobs.exists(_sha256(content))  # nothing is kept
        facts = {"format": "packed", "architecture": {"name": "convnet"}}
        with made.store.write() as connection:
            blob = made.store.blobs.put_stream([content])
            row = models.create(connection, made.store.blobs, blob, organisation=DEFAULT_ORGANISATION, facts=facts)
        for _ in range(2):  # more than a pipe holds, so that the child would have to read; then the next question
            answer = made.client.post(f"/v1/models/{row.id}/predict", files={"image": bytes(1 << 20)})
            assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    with registry(tmp_path / "alone", broker) as made:
        for listener in made.listeners:
            listener._draining.set()
        time.sleep(1.2)
        made.doorbell.worker = False
        begin = time.monotonic()
        answer = made.upload(content)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")
        assert "fqt worker" in answer.json()["detail"]
        assert time.monotonic() - begin < 4
        with redis.Redis.from_url(broker) as connection:
            until(lambda: connection.keys("fqt:ask*") == [])  # taken back
    with registry(tmp_path / "away", broker) as made:
        made.client.app.state.context.asker._broker = redis.asyncio.Redis.from_url("redis://127.0.0.1:1/0")  # type: ignore[attr-defined]
        answer = made.upload(content)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_json_of_a_model_is_what_openapi_shows(model: dict[str, Any]) -> None:
    document = json.loads((Path(__file__).parents[2] / "api" / "openapi.json").read_text())
    assert set(model) == set(document["components"]["schemas"]["ModelObject"]["properties"])


def test_the_client_does_it_all(service: Registry, content: bytes, tmp_path: Path) -> None:
    key = service.client.headers["Authorization"].removeprefix("Bearer ")
    with Client("http://localhost", key, http=Bridge(service.client)) as client:
        (tmp_path / "mine.safetensors").write_bytes(content)
        made = client.models.upload(tmp_path / "mine.safetensors")
        assert (made.name, made.accuracy) == ("mine", 0.5)
        assert made.id in [row.id for row in client.models.list(architecture="convnet")]
        assert client.models.get(made.id) == made
        assert client.models.download(made, tmp_path / "back").read_bytes() == content
        (tmp_path / "image.png").write_bytes(picture())
        first, second = client.models.predict(made.id, [tmp_path / "image.png", picture(90)], top_k=2)
        assert first.top[0] == (first.label, first.probability)
        assert len(second.top) == 2
        with pytest.raises(InvalidRequestError) as refused:
            client.models.predict(made.id, [picture(), b"none"])
        assert [fault.field for fault in refused.value.faults] == ["images.1"]
        with pytest.raises(LocalFileError):
            client.models.predict(made.id, [tmp_path / "missing.png"])
        exported = client.models.export(made.id)
        path = client.models.download_export(exported, tmp_path)
        assert (path.name, path.stat().st_size) == (f"{made.id}.onnx", exported.size)
        assert "## Licence" in client.models.card(made.id)
        client.models.delete(made.id)
        with pytest.raises(NotFoundError):
            client.models.get(made.id)
