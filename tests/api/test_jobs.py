"""Jobs over HTTP: creating once, looking, pausing, cancelling, results."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from jobs import lease
from jobs.offers import Offer
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import SPEC, Attempt, RecordingDoorbell, submit


def test_a_job_is_created_and_its_worker_rung(client: TestClient, doorbell: RecordingDoorbell) -> None:
    response = client.post("/v1/jobs", json={**SPEC, "name": "first", "device": "cpu"})
    assert response.status_code == 201
    job = response.json()
    assert (job["object"], job["state"], job["name"]) == ("job", "queued", "first")
    assert job["spec"]["training"]["epochs"] == 10
    assert job["created_at"].endswith("Z")
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert doorbell.rung == [(job["id"], "cpu")]
    assert client.get(f"/v1/jobs/{job['id']}").json() == job


def test_a_spec_as_it_is_shown_is_one_that_is_taken(client: TestClient) -> None:
    overrides = [{"pattern": "layer1.*", "bits": 8, "pruning": "none"}, {"pattern": "*", "clip": 3}]
    for method in ({"name": "fqt", "overrides": overrides}, {"name": "fqt", "preset": "balanced"}, {"name": "psq"}):
        spec = client.get(f"/v1/jobs/{submit(client, method=method)}").json()["spec"]
        again = client.get(f"/v1/jobs/{submit(client, **spec)}").json()["spec"]
        assert again == spec


def test_the_same_idempotency_key_makes_one_job(client: TestClient, doorbell: RecordingDoorbell) -> None:
    headers = {"Idempotency-Key": "abc"}
    first = client.post("/v1/jobs", json={**SPEC, "name": "a"}, headers=headers)
    again = client.post("/v1/jobs", json={"name": "a", **SPEC}, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/jobs", json={**SPEC, "name": "b"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(doorbell.rung) == 1
    assert len(client.get("/v1/jobs").json()["data"]) == 1


def test_concurrent_requests_with_one_key_make_one_job(client: TestClient, doorbell: RecordingDoorbell) -> None:
    def post(_: int) -> tuple[int, str]:
        response = client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "same"})
        return response.status_code, response.json()["id"]

    with ThreadPoolExecutor(100) as pool:
        answers = set(pool.map(post, range(100)))
    assert len(answers) == 1
    assert answers.pop()[0] == 201
    assert len(doorbell.rung) == 1


def test_a_refused_request_does_not_use_up_its_key(client: TestClient) -> None:
    headers = {"Idempotency-Key": "abc"}
    assert client.post("/v1/jobs", json={"dataset": "?"}, headers=headers).status_code == 422
    assert client.post("/v1/jobs", json=SPEC, headers=headers).status_code == 201


@pytest.mark.parametrize("value", ["", "x" * 256, "a b"])
def test_unfit_idempotency_keys(client: TestClient, value: str) -> None:
    response = client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": value})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "Idempotency-Key"


def test_a_dry_run_makes_nothing(client: TestClient, doorbell: RecordingDoorbell) -> None:
    response = client.post("/v1/jobs?dry_run=true", json=SPEC)
    assert response.status_code == 200
    plan = response.json()
    assert plan["object"] == "plan"
    assert plan["steps"] == plan["epochs"] * plan["steps_per_epoch"] > 0
    assert plan["model_bytes"] < plan["fp32_bytes"]
    assert (plan["seconds"] is None) == (plan["seconds_reason"] is not None)
    assert client.post("/v1/jobs?dry_run=true", json={"dataset": "?"}).status_code == 422
    assert client.get("/v1/jobs").json()["data"] == []
    assert doorbell.rung == []


def test_pages_of_jobs(client: TestClient) -> None:
    made = [submit(client) for _ in range(5)]
    assert client.post(f"/v1/jobs/{made[2]}/cancel").status_code == 200
    seen: list[str] = []
    after = None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2, **({"after": after} if after else {})}).json()
        seen += [job["id"] for job in page["data"]]
        if not page["has_more"]:
            break
        after = seen[-1]
    assert seen == made[::-1]
    listed = client.get("/v1/jobs", params={"state": ["cancelled", "failed"]}).json()["data"]
    assert [job["id"] for job in listed] == [made[2]]
    assert client.get("/v1/jobs?state=lost").json()["errors"][0]["field"] == "state.0"
    for unfit in ("limit=0", "limit=101", "after=x"):
        assert client.get(f"/v1/jobs?{unfit}").status_code == 422, unfit


def test_what_no_worker_can_run_is_told_before_it_waits(client: TestClient, doorbell: RecordingDoorbell) -> None:
    plan = client.post("/v1/jobs?dry_run=true", json={**SPEC, "queue": "large"}).json()
    [warning] = plan["warnings"]
    assert (warning["field"], warning["allowed"]) == ("queue", ["cpu"])
    assert "FQT_QUEUES=large" in warning["message"]
    wide = {"name": "vgg16", "width": 4, "image_size": 256}
    [warning] = client.post("/v1/jobs?dry_run=true", json={**SPEC, "architecture": wide}).json()["warnings"]
    assert warning["field"] == "training.batch_size"
    assert "no worker gives a job more than 8.6 GB" in warning["message"]

    events = client.get(f"/v1/jobs/{submit(client, queue='large')}/events").json()["data"]
    assert [(event["seq"], event["type"], event["data"].get("param")) for event in events] == [
        (1, "state", None),
        (2, "warning", "queue"),
    ]
    doorbell.offered = None  # a broker that is away: nothing is known, so nothing is said
    events = client.get(f"/v1/jobs/{submit(client, queue='large')}/events").json()["data"]
    assert [event["type"] for event in events] == ["state"]


def test_a_job_for_a_gpu_that_no_worker_has_is_refused(
    client: TestClient, settings: Settings, doorbell: RecordingDoorbell
) -> None:
    spec = {**SPEC, "device": "cuda"}
    sweep = {"base": spec, "space": {"training.learning_rate": {"type": "choice", "values": [0.1, 0.01]}}}
    bodies = [("jobs", spec), ("jobs?dry_run=true", spec), ("sweeps", sweep), ("sweeps?dry_run=true", sweep)]
    for path, body in bodies:
        refused = client.post(f"/v1/{path}", json=body)
        [error] = refused.json()["errors"]
        assert (refused.status_code, error["allowed"]) == (422, ["auto", "cpu"])
        assert error["field"] == ("base.device" if "sweeps" in path else "device")
        assert "has a GPU" in error["message"]
        assert "FQT_GPU_JOBS=always" in error["message"]
    both = client.post("/v1/jobs", json={**spec, "training": {"epochs": 0}}).json()["errors"]
    assert [error["field"] for error in both] == ["training.epochs", "device"]
    assert client.get("/v1/jobs").json()["data"] == []

    gpu = Offer(("cpu", "cuda"), 8 << 30, "a GPU")
    for offered in ([], None, [*(doorbell.offered or []), gpu]):  # nobody is known, nobody can be asked, one has a GPU
        doorbell.offered = offered
        assert [client.post(f"/v1/{path}", json=body).status_code for path, body in bodies] == [201, 200, 201, 200]

    waits = create_app(settings.model_copy(update={"gpu_jobs": "always"}), doorbell=RecordingDoorbell())
    with TestClient(waits, base_url="http://localhost", headers=client.headers) as other:
        events = other.get(f"/v1/jobs/{submit(other, device='cuda')}/events").json()["data"]
    assert [event["data"].get("param") for event in events] == [None, "device"]


def test_a_job_may_not_ask_for_more_time_than_there_is(settings: Settings, doorbell: RecordingDoorbell) -> None:
    app = create_app(settings.model_copy(update={"max_job_seconds": 60.0}), doorbell=doorbell)
    with TestClient(app, base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        for query in ("", "?dry_run=true"):
            refused = client.post(f"/v1/jobs{query}", json={**SPEC, "timeout_seconds": 61})
            [error] = refused.json()["errors"]
            assert (refused.status_code, error["field"]) == (422, "timeout_seconds")
            assert error["allowed"] == {"maximum": 60}
        job = client.post("/v1/jobs", json={**SPEC, "timeout_seconds": 60}).json()
    assert (job["spec"]["timeout_seconds"], job["ran_seconds"]) == (60, 0)


def test_a_key_over_its_quota_is_told_what_is_allowed(client: TestClient, doorbell: RecordingDoorbell) -> None:
    made = client.post(
        "/v1/keys", json={"name": "small", "scopes": ["write"], "max_queued": 1, "max_running": 4}
    ).json()
    assert (made["max_queued"], made["max_running"]) == (1, 4)
    headers = {"Authorization": f"Bearer {made['key']}", "Idempotency-Key": "second"}
    assert client.post("/v1/jobs", json=SPEC, headers=headers | {"Idempotency-Key": "first"}).status_code == 201
    refused = client.post("/v1/jobs", json=SPEC, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
    assert refused.json()["errors"][0]["allowed"] == {"maximum": 1}
    assert "1 job of this key may wait" in refused.json()["detail"]
    assert client.post("/v1/jobs", json=SPEC).status_code == 201  # another key's
    waiting = client.get("/v1/jobs").json()["data"][-1]["id"]
    client.post(f"/v1/jobs/{waiting}/cancel")
    assert client.post("/v1/jobs", json=SPEC, headers=headers).status_code == 201  # a refusal is not remembered
    assert [queue for _, queue in doorbell.rung] == ["auto"] * 3


def test_a_queue_that_no_worker_serves_is_told(client: TestClient, doorbell: RecordingDoorbell) -> None:
    job_id = submit(client, queue="big")
    assert doorbell.rung == [(job_id, "big")]
    told = client.get(f"/v1/jobs/{job_id}/events").json()["data"][1]
    assert (told["type"], told["data"]["param"], "FQT_QUEUES=big" in told["data"]["message"]) == (
        "warning",
        "queue",
        True,
    )


def test_a_job_that_did_not_change_is_not_sent_again(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    tag = client.get(f"/v1/jobs/{job_id}").headers["etag"]
    for value in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": value})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    attempt = Attempt(store, job_id)
    attempt.report(("log", {"message": "x"}), progress={"step": 1, "loss": 0.5})
    changed = client.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.json()["progress"]["loss"] == 0.5
    assert changed.json()["record"]["attempt"] == 1


def test_cancelling(client: TestClient, store: Store) -> None:
    waiting, running, done = submit(client), submit(client), submit(client)
    Attempt(store, running)
    Attempt(store, done).succeed()
    assert client.post(f"/v1/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{running}/cancel").json()["state"] == "cancelling"
    assert client.post(f"/v1/jobs/{running}/cancel").status_code == 200
    refused = client.post(f"/v1/jobs/{done}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert client.post(f"/v1/jobs/job_{'0' * 26}/cancel").status_code == 404


def test_pausing_and_resuming(client: TestClient, store: Store, doorbell: RecordingDoorbell) -> None:
    waiting, running = submit(client), submit(client)
    attempt = Attempt(store, running)
    for _ in range(2):
        assert client.post(f"/v1/jobs/{waiting}/pause").json()["state"] == "paused"
        assert client.post(f"/v1/jobs/{running}/pause").json()["state"] == "pausing"
    early = client.post(f"/v1/jobs/{running}/resume")
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    assert "is pausing" in early.json()["detail"]
    with store.write() as connection:
        lease.release(connection, running, attempt.job.lease_epoch, reason="paused")
    doorbell.rung.clear()
    for job_id in (waiting, running):
        assert client.post(f"/v1/jobs/{job_id}/resume").json()["state"] == "queued"
    assert doorbell.rung == [(waiting, "auto"), (running, "auto")]
    again = Attempt(store, running)
    assert client.post(f"/v1/jobs/{running}/resume").json()["state"] == "running"
    again.succeed()
    for verb in ("pause", "resume"):
        assert client.post(f"/v1/jobs/{running}/{verb}").status_code == 409
        assert client.post(f"/v1/jobs/job_{'0' * 26}/{verb}").status_code == 404


def test_only_a_job_that_has_ended_can_be_deleted(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    attempt = Attempt(store, job_id)
    attempt.artifact("report.json", b"{}")
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 409
    attempt.succeed()
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert [path for path in store.blobs.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "unfit", ["xyz", "job_" + "0" * 25, "job_" + "0" * 25 + "%00", "..%2f..%2fetc", "ds_" + "0" * 26]
)
def test_what_cannot_be_an_id_is_the_id_of_nothing(client: TestClient, unfit: str) -> None:
    for path in ("", "/events", "/metrics", "/artifacts", "/checkpoints", "/events/stream"):
        assert client.get(f"/v1/jobs/{unfit}{path}").status_code == 404, path
    for path in ("", "/events", "/metrics", "/artifacts", "/checkpoints", "/events/stream", "/artifacts/x"):
        assert client.get(f"/v1/jobs/job_{'0' * 26}{path}").json()["code"] == "not_found"


def test_events_and_curves(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    attempt = Attempt(store, job_id)
    attempt.steps(1, 40)
    attempt.report(("metric", {"kind": "epoch", "epoch": 1, "step": 40, "validation_accuracy": float("nan")}))
    attempt.succeed()

    page = client.get(f"/v1/jobs/{job_id}/events?limit=10").json()
    assert [event["seq"] for event in page["data"]] == list(range(1, 11))
    assert page["has_more"]
    assert page["data"][0]["type"] == "state"
    rest = client.get(f"/v1/jobs/{job_id}/events?after=10&limit=1000").json()
    assert [event["seq"] for event in rest["data"]] == list(range(11, 45))
    assert not rest["has_more"]

    told = [*page["data"], *rest["data"]]
    for query, types in [("type=metric", {"metric"}), ("type=state&type=log", {"state", "log"}), ("type=log", {"log"})]:
        found = client.get(f"/v1/jobs/{job_id}/events?limit=1000&{query}").json()["data"]
        assert found == [event for event in told if event["type"] in types], query
    assert client.get(f"/v1/jobs/{job_id}/events?type=rumour").status_code == 422
    assert client.get(f"/v1/jobs/{job_id}/metrics?max_points=5").json()["last_seq"] == told[-1]["seq"]
    curves = {(row["kind"], row["name"]): row for row in client.get(f"/v1/jobs/{job_id}/metrics").json()["data"]}
    assert curves["step", "loss"]["steps"] == list(range(1, 41))
    assert curves["epoch", "validation_accuracy"]["values"] == [None]
    [few] = client.get(f"/v1/jobs/{job_id}/metrics?name=loss&kind=step&max_points=5").json()["data"]
    assert len(few["steps"]) <= 5
    assert few["steps"][-1] == 40
    assert client.get(f"/v1/jobs/{job_id}/metrics?kind=hour").status_code == 422


def test_files_of_a_job(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    content = bytes(range(256)) * 10
    attempt = Attempt(store, job_id)
    attempt.artifact("model.safetensors", content, "model")
    attempt.checkpoint(7, b"checkpoint")
    [row] = client.get(f"/v1/jobs/{job_id}/artifacts").json()["data"]
    digest = hashlib.sha256(content)
    assert (row["name"], row["kind"], row["size"], row["sha256"]) == (
        "model.safetensors",
        "model",
        2560,
        digest.hexdigest(),
    )
    [kept] = client.get(f"/v1/jobs/{job_id}/checkpoints").json()["data"]
    assert (kept["step"], kept["size"]) == (7, 10)

    url = f"/v1/jobs/{job_id}/artifacts/model.safetensors"
    whole = client.get(url)
    assert whole.content == content
    assert whole.headers["etag"] == f'"{digest.hexdigest()}"'
    assert whole.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert whole.headers["content-disposition"] == 'attachment; filename="model.safetensors"'
    assert client.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert client.get(f"/v1/jobs/{job_id}/artifacts/other").status_code == 404


@pytest.mark.parametrize(
    ("header", "status", "first", "last"),
    [
        ("bytes=100-", 206, 100, 1000),
        ("bytes=0-0", 206, 0, 1),
        ("bytes=990-2000", 206, 990, 1000),
        ("bytes=-10", 206, 990, 1000),
        ("bytes=-2000", 206, 0, 1000),
        ("bytes=1000-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=5-2", 200, 0, 1000),
        ("bytes=-", 200, 0, 1000),
        ("bytes=a-b", 200, 0, 1000),
        ("bytes=0-1,5-6", 200, 0, 1000),
        ("pages=1-2", 200, 0, 1000),
        ("nonsense", 200, 0, 1000),
    ],
)
def test_ranges(client: TestClient, store: Store, header: str, status: int, first: int, last: int) -> None:
    content = bytes(i % 251 for i in range(1000))
    job_id = submit(client)
    Attempt(store, job_id).artifact("weights.safetensors", content)
    response = client.get(f"/v1/jobs/{job_id}/artifacts/weights.safetensors", headers={"Range": header})
    assert response.status_code == status
    if status == 416:
        assert response.json()["code"] == "range_not_satisfiable"
        assert response.headers["content-range"] == "bytes */1000"
    else:
        assert response.content == content[first:last]
    if status == 206:
        assert response.headers["content-range"] == f"bytes {first}-{last - 1}/1000"


def test_a_range_of_another_file_gets_the_whole_one(client: TestClient, store: Store) -> None:
    job_id = submit(client)
    Attempt(store, job_id).artifact("a", b"0123456789")
    response = client.get(f"/v1/jobs/{job_id}/artifacts/a", headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (response.status_code, response.content) == (200, b"0123456789")


def test_choices(client: TestClient) -> None:
    methods = {row["name"]: row for row in client.get("/v1/methods").json()["data"]}
    others = {"statquant", "unified-int8", "adaptive-int8", "lsq", "lg-lsq"}
    assert {name for name, row in methods.items() if row["task"] == "images"} == {"fp32", "qat", "psq", "fqt", *others}
    assert {name for name, row in methods.items() if row["task"] == "tabular"} == {"gbdt"}
    assert {name for name, row in methods.items() if row["task"] == "expand"} == {"nce"}
    assert methods["nce"]["arithmetic"] == "simulated"
    assert methods["nce"]["options"]["properties"]["threshold"]["default"] == 0.3
    assert methods["fqt"]["arithmetic"] == "integer"
    assert methods["fqt"]["options"]["properties"]["bits"]["enum"] == [1, 2, 4, 8, "auto"]
    assert all(row["summary"] and row["source"] for row in methods.values())
    networks = {row["name"]: row for row in client.get("/v1/architectures").json()["data"]}
    assert set(networks) == {"vgg16", "resnet18", "convnet"}
    assert networks["vgg16"]["options"]["properties"]["width"]["maximum"] == 4


def test_keys_are_shown_once(client: TestClient) -> None:
    made = client.post("/v1/keys", json={"name": "ci", "scopes": ["write"]}).json()
    assert made["key"].startswith(made["prefix"])
    listed = client.get("/v1/keys").json()["data"]
    assert {row["name"] for row in listed} == {"ci", "first key"}
    assert all("key" not in row for row in listed)
    [own] = [row["id"] for row in listed if row["name"] == "first key"]
    assert client.delete(f"/v1/keys/{own}").status_code == 409
    for wrong in ({"name": "x", "scopes": []}, {"name": "x", "scopes": ["root"]}, {"name": "", "scopes": ["read"]}):
        assert client.post("/v1/keys", json=wrong).status_code == 422
    assert client.post("/v1/keys", json={"name": "x", "scopes": ["read", "read"]}).status_code == 422


def test_figures_for_prometheus(client: TestClient) -> None:
    submit(client)
    client.get(f"/v1/jobs/job_{'0' * 26}")
    text = client.get("/metrics").text
    assert 'fqt_jobs{state="queued"} 1.0' in text
    assert 'method="GET",route="/v1/jobs/{job_id}",status="404"} 1.0' in text


def test_the_reference_loads_nothing_from_elsewhere(client: TestClient) -> None:
    client.headers.pop("Authorization")
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "//" not in page.text.replace("<!doctype", "").replace("https://", "") or "src=" not in page.text
    assert "<script" not in page.text
    for path in ("/v1/jobs", "/v1/datasets", "/v1/jobs/{job_id}/events/stream"):
        assert path in page.text
    assert client.get("/page/base.css").headers["content-type"].startswith("text/css")
    assert client.get("/openapi.json").json()["info"]["title"] == "fqt"
