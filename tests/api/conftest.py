"""An app with a database and a blob store of its own, a doorbell that remembers, and a hand for a worker's part."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from api.app import create_app
from fqt_core.data import profile
from jobs import artifacts, checkpoints, datasets, events, keys, lease, logs, models
from jobs.completion import complete
from jobs.ids import new_id
from jobs.offers import Offer
from jobs.records import Job
from jobs.settings import Settings
from jobs.store import Store
from tests.api.process import Api
from worker.inspection import Inspector

SPEC: dict[str, Any] = {"dataset": "digits", "architecture": {"name": "resnet18", "width": 0.25, "channels": 1}}


@dataclass
class RecordingDoorbell:
    """Remembers who was rung; ``on_dataset`` stands for the worker that hears it."""

    rung: list[tuple[str, str]] = field(default_factory=list)
    broker: bool = True
    worker: bool = True
    offered: list[Offer] | None = field(default_factory=lambda: [Offer(("cpu",), 8 << 30)])
    on_dataset: Callable[[str], object] | None = None

    def ring_job(self, job_id: str, queue: str) -> None:
        self.rung.append((job_id, queue))

    def ring_dataset(self, dataset_id: str) -> None:
        self.rung.append((dataset_id, "inspect"))
        if self.on_dataset is not None:
            threading.Thread(target=self.on_dataset, args=(dataset_id,), daemon=True).start()

    def broker_answers(self) -> bool:
        return self.broker

    def worker_answers(self) -> bool:
        return self.worker

    def offers(self) -> list[Offer] | None:
        return self.offered

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True, scope="session")
def _plain_logs() -> None:
    """Log as the service does: the library's default renders an exception with every local variable."""
    logs.configure("warning")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", max_upload_bytes=4 << 20, reaper_seconds=600)


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture
def app(settings: Settings, doorbell: RecordingDoorbell) -> FastAPI:
    return create_app(settings, doorbell=doorbell)


@pytest.fixture
def client(app: FastAPI, settings: Settings) -> Iterator[TestClient]:
    """A client with the first key, which has every scope."""
    with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        yield client


@pytest.fixture
def store(client: TestClient, app: FastAPI) -> Store:
    found = app.state.context.store
    assert isinstance(found, Store)
    return found


@pytest.fixture
def api(tmp_path: Path, valkey_url: str) -> Iterator[Api]:
    """The API as a process of its own, on a real broker."""
    found = Api(tmp_path / "data", valkey_url)
    yield found
    found.close()


@pytest.fixture
def shared_store(api: Api) -> Iterator[Store]:
    """The store of that process, as a worker has it."""
    opened = Store.open(api.settings)
    yield opened
    opened.close()


def key_with(store: Store, *scopes: keys.Scope) -> dict[str, str]:
    """Headers with a new key of these scopes."""
    with store.write() as connection:
        _, plain = keys.create(connection, store.key_secret, name="test", scopes=scopes)
    return {"Authorization": f"Bearer {plain}"}


def files_of(settings: Settings) -> list[Path]:
    """Every file in the blob store, unfinished ones included."""
    return [path for path in settings.blobs.rglob("*") if path.is_file()]


class Attempt:
    """Plays one attempt of a worker at a job."""

    def __init__(self, store: Store, job_id: str) -> None:
        self.store = store
        with store.write() as connection:
            job = lease.claim(connection, ["cpu"], "test", 60, job_id=job_id)
        assert job is not None
        self.job: Job = job

    def report(self, *items: tuple[Any, Mapping[str, Any]], **values: Any) -> None:
        with self.store.write() as connection:
            events.append(connection, self.job.id, self.job.lease_epoch, items, values=values)

    def steps(self, first: int, last: int) -> None:
        self.report(*(("metric", {"kind": "step", "step": n, "loss": 1 / n}) for n in range(first, last + 1)))

    def artifact(self, name: str, content: bytes, kind: str = "report", details: Any = None) -> None:
        blob, epoch = self.store.blobs.put_stream([content]), self.job.lease_epoch
        with self.store.write() as connection:
            artifacts.add(connection, self.store.blobs, self.job.id, epoch, blob, name=name, kind=kind, details=details)

    def checkpoint(self, step: int, content: bytes) -> None:
        blob = self.store.blobs.put_stream([content])
        with self.store.write() as connection:
            checkpoints.add(connection, self.store.blobs, self.job.id, self.job.lease_epoch, blob, step=step, keep=5)

    def succeed(self, **result: Any) -> None:
        with self.store.write() as connection:
            complete(connection, self.store.blobs, self.job, result, model_id=new_id(models.PREFIX))


def submit(client: TestClient, **changes: Any) -> str:
    """Create a job and return its id."""
    response = client.post("/v1/jobs", json={**SPEC, **changes})
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def inspect(store: Store, dataset_id: str) -> None:
    """Look through a data set as a worker does, in this process."""
    with store.write() as connection:
        row = datasets.claim_check(connection, dataset_id, 60)
    assert row is not None
    found = profile(store.blobs.path(row.sha256))
    with store.write() as connection:
        if found["faults"]:
            error = {"code": "dataset_invalid", "message": "the data set cannot be used", "faults": found["faults"]}
            datasets.finish_check(connection, dataset_id, row.check_epoch, error=error)
        else:
            datasets.finish_check(connection, dataset_id, row.check_epoch, profile=found)


@pytest.fixture
def inspected(doorbell: RecordingDoorbell, store: Store) -> None:
    """From here on a worker hears the doorbell of data sets."""
    doorbell.on_dataset = lambda dataset_id: inspect(store, dataset_id)


@pytest.fixture
def looked_through(doorbell: RecordingDoorbell, store: Store) -> None:
    """From here on the inspection of a worker hears the doorbell of data sets, and starts its child."""
    doorbell.on_dataset = Inspector(store, threading.Event()).run


def png(shade: int = 0) -> bytes:
    data = io.BytesIO()
    Image.new("L", (8, 8), shade).save(data, "PNG")
    return data.getvalue()


def archive(members: Mapping[str, bytes] | None = None, *, images: int = 6) -> bytes:
    """A zip of two classes, or of these members."""
    if members is None:
        members = {f"{name}/{n}.png": png(n + 100 * (name == "b")) for name in "ab" for n in range(images)}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)  # without the time of day: the same bytes at each call
    return data.getvalue()
