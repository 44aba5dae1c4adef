"""The same API on PostgreSQL: what could differ there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api.app import create_app
from jobs.settings import Settings
from tests.api.conftest import SPEC, Attempt, RecordingDoorbell, archive, files_of, inspect, submit


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", database_url=postgres_url, reaper_seconds=600)


@pytest.fixture
def app(settings: Settings, doorbell: RecordingDoorbell) -> FastAPI:
    return create_app(settings, doorbell=doorbell)


def test_the_whole_way(app: FastAPI, client: TestClient, settings: Settings, doorbell: RecordingDoorbell) -> None:
    store = app.state.context.store
    doorbell.on_dataset = lambda dataset_id: inspect(store, dataset_id)

    def upload(content: bytes) -> tuple[int, str]:
        headers = {"Idempotency-Key": "same"}
        response = client.post("/v1/datasets?wait=20", files={"file": ("a.zip", content)}, headers=headers)
        return response.status_code, response.json().get("id", response.json().get("code"))

    assert upload(b"nonsense") == (422, "dataset_rejected")
    assert files_of(settings) == []
    with ThreadPoolExecutor(6) as pool:
        answers = set(pool.map(upload, [archive()] * 6))
    assert len(answers) == 1
    status, dataset = answers.pop()
    assert status == 201

    def post(_: int) -> str:
        response = client.post("/v1/jobs", json={**SPEC, "dataset": dataset}, headers={"Idempotency-Key": "same"})
        assert response.status_code == 201
        return str(response.json()["id"])

    with ThreadPoolExecutor(100) as pool:
        ids = set(pool.map(post, range(100)))
    assert len(ids) == 1
    assert len(doorbell.rung) == 3
    attempt = Attempt(store, ids.pop())
    attempt.steps(1, 5)
    attempt.artifact("report.json", b"{}")
    attempt.succeed(accuracy=1.0)
    job = client.get(f"/v1/jobs/{attempt.job.id}").json()
    assert (job["state"], job["result"]) == ("succeeded", {"accuracy": 1.0})
    assert job["finished_at"].endswith("Z")
    with client.stream("GET", f"/v1/jobs/{attempt.job.id}/events/stream") as response:
        assert "event: end" in response.read().decode()
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204


def test_what_the_database_cannot_take_is_refused_before_it(client: TestClient) -> None:
    for name in (r"a\u0000b", r"\ud800"):
        body = f'{{"dataset": "digits", "name": "{name}"}}'
        response = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 400, response.text
    submit(client, name="Überprüfung \U0001f600")
