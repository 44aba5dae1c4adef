"""Organisations are kept apart: what is another one's does not exist, whatever way it is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from jobs import jobs, keys, lease, organisations
from jobs.store import Store
from tests.api import filler
from tests.api.conftest import SPEC, Attempt, archive, submit

ABSENT_JOB = "job_" + "0" * 26
ABSENT_DATASET = "ds_" + "0" * 26


@pytest.fixture
def others(store: Store) -> dict[str, str]:
    """Headers with a key of another organisation, which may do anything there."""
    with store.write() as connection:
        other = organisations.create(connection, "others")
        _, plain = keys.create(connection, store.key_secret, name="theirs", scopes=["admin"], organisation=other.id)
    return {"Authorization": f"Bearer {plain}"}


@pytest.fixture
def finished(client: TestClient, store: Store) -> str:
    """A job of the first organisation that can be a teacher, and be started from."""
    job_id = submit(client)
    attempt = Attempt(store, job_id)
    attempt.artifact("model.safetensors", b"model", "model")
    attempt.artifact("weights.safetensors", b"weights", "weights")
    attempt.succeed(classes=[str(n) for n in range(10)], train_images=1500, epochs=10, seconds=5.0)
    return job_id


def _upload(client: TestClient, name: str = "a.zip", **options: Any) -> dict[str, Any]:
    response = client.post("/v1/datasets?wait=5", files={"file": (name, archive())}, **options)
    assert response.status_code == 201, response.text
    return dict(response.json())


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
@pytest.mark.parametrize("broken", [{}, {"training": {"epochs": -1}}, {"nonsense": 1}])
@pytest.mark.usefixtures("inspected")
def test_a_spec_refers_to_its_own_organisations_things_only(
    client: TestClient, others: dict[str, str], finished: str, query: str, broken: dict[str, Any]
) -> None:
    dataset = _upload(client)["id"]
    for field, theirs, absent in (
        ("dataset", dataset, ABSENT_DATASET),
        ("initial_weights", finished, ABSENT_JOB),
        ("teacher", finished, ABSENT_JOB),
    ):
        told = []
        for reference in (theirs, absent):
            body = {**SPEC, **broken, field: reference}
            response = client.post(f"/v1/jobs{query}", json=body, headers=others)
            assert response.status_code == 422, response.text
            told.append(response.text.replace(reference, "…").replace(response.json()["request_id"], ""))
            assert f"there is no {'data set' if field == 'dataset' else 'job'}" in response.text
        assert told[0] == told[1]
    if not broken:
        own = client.post(f"/v1/jobs{query}", json={**SPEC, "dataset": dataset, "architecture": {"name": "resnet18"}})
        assert own.status_code in {200, 201}, own.text


def _asking(ids: dict[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Every way to name a resource but in a path: in queries, bodies, headers, and below others' resources."""
    job, dataset, model, sweep = (ids[name] for name in ("job", "dataset", "model", "sweep"))

    def spec(**changes: Any) -> tuple[str, str, dict[str, Any]]:
        return "POST", "/v1/jobs", {"json": {**SPEC, **changes}}

    def search(space: dict[str, Any] | None = None, **base: Any) -> tuple[str, str, dict[str, Any]]:
        given = space or {"training.seed": {"type": "choice", "values": [1, 2]}}
        return "POST", "/v1/sweeps?dry_run=true", {"json": {"base": {**SPEC, **base}, "space": given}}

    def openai(**changes: Any) -> tuple[str, str, dict[str, Any]]:
        body = {"model": "resnet18", "training_file": "digits"} | changes
        return "POST", "/openai/v1/fine_tuning/jobs", {"json": body}

    return [
        ("GET", f"/v1/compare?job={job}", {}),
        ("GET", f"/v1/compare?sweep={sweep}", {}),
        ("POST", "/v1/compare", {"json": {"jobs": [job]}}),
        ("POST", "/v1/compare", {"json": {"sweep": sweep}}),
        spec(dataset=dataset), spec(initial_weights=model), spec(teacher=model), spec(teacher=job),
        search(dataset=dataset), search(initial_weights=model), search(teacher=job),
        search({"dataset": {"type": "choice", "values": ["digits", dataset]}}),
        search({"initial_weights": {"type": "choice", "values": [job, model]}}),
        openai(training_file=dataset), openai(model=job), openai(teacher=model),
        ("GET", f"/v1/models?job={job}", {}),
        *(("GET", f"/v1/{name}s?after={ids[name]}", {}) for name in ("job", "dataset", "model", "sweep")),
        ("GET", f"/openai/v1/files?after={dataset}", {}),
        ("GET", f"/openai/v1/fine_tuning/jobs?after={job}", {}),
        ("GET", f"/v1/jobs/{job}", {"headers": {"If-None-Match": "*"}}),
        ("GET", f"/v1/jobs/{job}/artifacts/report.json", {"headers": {"If-None-Match": "*", "Range": "bytes=0-"}}),
        ("GET", f"/v1/datasets/{dataset}/thumbnails", {"headers": {"If-None-Match": "*"}}),
        ("GET", f"/v1/jobs/{job}/events/stream", {"headers": {"Last-Event-ID": "1"}}),
        ("POST", f"/v1/webhooks/{ids['own webhook']}/deliveries/{ids['delivery']}/replay", {}),
    ]  # fmt: skip


def test_no_reference_leads_to_another_organisations(client: TestClient, others: dict[str, str], store: Store) -> None:
    """Whatever names what is another's is answered, word for word, as if it named nothing."""
    scene = filler.Scene(client, store)
    ids = {name.removesuffix("_id"): filler.PATH[name](scene) for name in filler.PATH if name.endswith("_id")}
    hook = client.post("/v1/webhooks", json={"url": "https://93.184.215.14/"}, headers=others).json()["id"]
    nothing = {name: value[:-26] + "0" * 26 for name, value in ids.items()}

    def told(method: str, url: str, more: dict[str, Any], these: dict[str, str]) -> tuple[int, str]:
        response = client.request(method, url, **{**more, "headers": more.get("headers", {}) | others})
        text = response.text.replace(response.headers["x-request-id"], "")
        for name, value in these.items():
            text = text.replace(value, name)
        return response.status_code, text

    for theirs, absent in zip(
        _asking(ids | {"own webhook": hook}), _asking(nothing | {"own webhook": hook}), strict=True
    ):
        answer = told(*theirs, ids)
        assert answer == told(*absent, nothing), theirs
        assert answer[0] in {404, 422} or '"data":[]' in answer[1] or '"has_more"' in answer[1], theirs
        if theirs[0] == "GET":  # or what the others get would show nothing
            assert client.request(*theirs[:2], **theirs[2]).status_code in {200, 206, 304}, theirs


@pytest.mark.usefixtures("inspected")
def test_lists_hold_the_organisations_own(client: TestClient, others: dict[str, str], finished: str) -> None:
    dataset = _upload(client)["id"]
    mine = submit(client)
    made = client.post("/v1/jobs", json=SPEC, headers=others).json()["id"]
    assert [row["id"] for row in client.get("/v1/jobs").json()["data"]] == [mine, finished]
    assert [row["id"] for row in client.get("/v1/jobs", headers=others).json()["data"]] == [made]
    listed = [row["id"] for row in client.get("/v1/datasets", headers=others).json()["data"]]
    assert dataset not in listed
    assert "digits" in listed  # what is built in is everybody's
    assert [row["name"] for row in client.get("/v1/keys", headers=others).json()["data"]] == ["theirs"]


def test_a_cursor_of_another_organisation_tells_nothing(
    client: TestClient, others: dict[str, str], finished: str
) -> None:
    made = client.post("/v1/jobs", json=SPEC, headers=others).json()["id"]
    page = client.get(f"/v1/jobs?after={made}").json()
    assert [row["id"] for row in page["data"]] == [finished]


def test_a_key_makes_keys_and_jobs_of_its_own_organisation(
    client: TestClient, others: dict[str, str], store: Store
) -> None:
    made = client.post("/v1/keys", json={"name": "more", "scopes": ["write"]}, headers=others).json()
    headers = {"Authorization": f"Bearer {made['key']}"}
    job_id = client.post("/v1/jobs", json=SPEC, headers=headers).json()["id"]
    with store.read() as connection:
        [owner] = [row.id for row in organisations.list_organisations(connection) if row.name == "others"]
        assert jobs.get(connection, job_id).organisation_id == owner
        assert {key.organisation_id for key in keys.list_keys(connection, organisation=owner)} == {owner}
    assert client.get(f"/v1/jobs/{job_id}", headers=others).status_code == 200  # whichever key of them made it
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_the_same_idempotency_key_in_two_organisations_makes_two_jobs(
    client: TestClient, others: dict[str, str]
) -> None:
    first = client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "same"})
    second = client.post("/v1/jobs", json=SPEC, headers={**others, "Idempotency-Key": "same"})
    third = client.post("/v1/jobs", json={**SPEC, "name": "x"}, headers={**others, "Idempotency-Key": "own"})
    assert [response.status_code for response in (first, second, third)] == [201, 201, 201]
    assert first.json()["id"] != second.json()["id"]
    assert "idempotent-replayed" not in second.headers


@pytest.mark.usefixtures("inspected")
def test_the_same_bytes_of_two_organisations_are_two_data_sets(
    client: TestClient, others: dict[str, str], store: Store
) -> None:
    """They are stored once, which neither can tell; and neither can take them from the other."""
    mine = _upload(client)
    theirs = _upload(client, "b.zip", headers=others)
    assert mine["sha256"] == theirs["sha256"]
    assert {name for name in mine if mine[name] != theirs[name]} == {"id", "name", "filename", "created_at"}
    assert client.delete(f"/v1/datasets/{mine['id']}", headers=others).status_code == 404
    assert client.delete(f"/v1/datasets/{theirs['id']}", headers=others).status_code == 204
    assert store.blobs.exists(mine["sha256"])
    assert client.get(f"/v1/datasets/{mine['id']}").status_code == 200
    assert client.get(f"/v1/datasets/{theirs['id']}", headers=others).status_code == 404


@pytest.mark.usefixtures("finished")
def test_what_others_jobs_took_is_not_told(client: TestClient, others: dict[str, str]) -> None:
    def seconds(**options: Any) -> Any:
        return client.post("/v1/jobs?dry_run=true", json=SPEC, **options).json()["seconds"]

    assert seconds() is not None
    assert seconds(headers=others) is None


def test_figures_of_the_whole_service_are_for_who_runs_it(client: TestClient, others: dict[str, str]) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", headers=others).status_code == 403


def test_workers_serve_every_organisation(client: TestClient, others: dict[str, str], store: Store) -> None:
    made = {submit(client), client.post("/v1/jobs", json=SPEC, headers=others).json()["id"]}
    with store.write() as connection:
        claimed = [lease.claim(connection, ["cpu"], "worker", 60) for _ in made]
    assert {job.id for job in claimed if job is not None} == made
