"""A store of each version before, full of rows: after the upgrade every row is there and every resource is served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import alembic.command
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, MetaData, Table, insert, make_url, select

from api.app import create_app
from jobs import blob_rows, database, datasets, imports, keys, models, organisations
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.store import Store
from jobs.tables import trials
from tests.api.conftest import SPEC, Attempt, RecordingDoorbell, archive, inspect, submit
from tests.fixtures import new_database

REVISIONS = ("0010", "0009", "0008", "0007", "0006", "0005")
Rows: TypeAlias = tuple[tuple[str, ...], list[str]]
"""Names of columns, and each row in words."""
_PUBLIC_URL = "https://93.184.215.14/pets.zip"


@dataclass
class World:
    """A store with a row of everything in it: its settings, its first key, and the path of each resource with the
    revision without which it cannot be: going back beyond that one removes it."""

    settings: Settings
    server: str | None
    key: str
    paths: list[tuple[str, str]]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    settings = Settings(data_dir=folder / "data", reaper_seconds=600, dataset_urls="public")
    if request.param == "sqlite":
        yield _fill(settings, None)
        return
    server = request.getfixturevalue("postgres_server")
    with new_database(server) as url:
        yield _fill(settings.model_copy(update={"database_url": SecretStr(url)}), server)


def _fill(settings: Settings, server: str | None) -> World:
    app = create_app(settings, doorbell=RecordingDoorbell())
    with TestClient(app, base_url="http://localhost") as client:
        key = settings.key_path.read_text().strip()
        client.headers["Authorization"] = f"Bearer {key}"
        store = app.state.context.store
        files = {"file": ("a.zip", archive())}
        dataset = client.post("/v1/datasets?wait=0", files=files).json()["id"]
        inspect(store, dataset)
        body = {"url": _PUBLIC_URL}
        client.post("/v1/datasets/from-url?wait=0", json=body).raise_for_status()
        folder = _folder(store)
        done = submit(client, dataset=dataset, name="done")
        attempt = Attempt(store, done)
        attempt.steps(1, 5)
        attempt.checkpoint(5, b"checkpoint")
        attempt.artifact("report.json", b"{}")
        attempt.artifact("model.safetensors", b"packed", kind="model")
        attempt.artifact("weights.safetensors", b"weights", kind="weights")
        attempt.succeed(classes=["a", "b"], validation_accuracy=0.5)
        child = submit(client, dataset=dataset, initial_weights=done)
        client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "kept"}).raise_for_status()
        space = {"training.seed": {"type": "int", "low": 0, "high": 3}}
        sweep = client.post("/v1/sweeps", json={"base": {"dataset": "digits"}, "space": space}).json()["id"]
        hook = client.post("/v1/webhooks", json={"url": "https://93.184.215.14/"}).json()["id"]
        client.post(f"/v1/webhooks/{hook}/test").raise_for_status()
        client.post("/v1/keys", json={"name": "ends", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00Z"})
        with store.write() as connection:
            other = organisations.create(connection, "other").id
            keys.create(connection, store.key_secret, name="theirs", scopes=["read"], organisation=other)
            (model,) = models.list_models(connection, organisation="org_default").data
            blob = store.blobs.put_stream([b"onnx"])
            models.add_export(connection, store.blobs, blob, model_id=model.id, format="onnx", details={})
            trial = {"sweep_id": sweep, "number": 0, "job_id": child, "state": "running", "created_at": now()}
            connection.execute(insert(trials).values(parameters={}, reported={}, notes={}, **trial))
    job, registered = f"/v1/jobs/{done}", f"/v1/models/{model.id}"
    paths = [
        *(("0001", f"{job}{part}") for part in ("", "/events", "/metrics", "/checkpoints", "/artifacts")),
        ("0001", f"{job}/artifacts/report.json"), ("0001", f"/v1/datasets/{dataset}"), ("0001", f"/v1/jobs/{child}"),
        ("0001", f"/v1/compare?job={done}&job={child}"), ("0001", f"/openai/v1/fine_tuning/jobs/{done}"),
        ("0001", "/v1/keys"), ("0001", "/v1/audit"), ("0008", f"/v1/datasets/{folder}"),
        *(("0009", f"{registered}{part}") for part in ("", "/file", "/card", "/exports/onnx")),
        ("0010", f"/v1/sweeps/{sweep}"), ("0011", f"/v1/webhooks/{hook}"), ("0011", f"/v1/webhooks/{hook}/deliveries"),
    ]  # fmt: skip
    return World(settings, server, key, paths)


def _folder(store: Store) -> str:
    """A data set that is a mounted folder, as a worker has pinned it."""
    listing = store.blobs.put_stream([b"listing"])
    with store.write() as connection:
        made = imports.from_folder(connection, "photos", name=None, organisation="org_default")
        look = datasets.claim_check(connection, made.id, 60)
        assert look is not None
        blob_rows.register(connection, store.blobs, listing)
        profile = {"format": "folders", "classes": [{"name": name, "count": 6} for name in "ab"], "faults": []}
        datasets.finish_check(connection, made.id, look.check_epoch, profile=profile, listing=listing, size=7)
    return made.id


@pytest.mark.parametrize("revision", REVISIONS)
def test_everything_is_there_and_served_after_an_upgrade(world: World, revision: str, tmp_path: Path) -> None:
    with _copy(world, tmp_path) as settings:
        engine = database.connect(settings)
        with engine.begin() as connection:
            database.take_time(connection)
            config = database.migrations()
            config.attributes["connection"] = connection
            alembic.command.downgrade(config, revision)
        before = _rows(engine)
        database.upgrade(engine)
        assert _rows(engine, like=before) == before
        engine.dispose()
        app = create_app(settings, doorbell=RecordingDoorbell())
        with TestClient(app, base_url="http://localhost") as client:
            client.headers["Authorization"] = f"Bearer {world.key}"
            for since, path in world.paths:
                response = client.get(path)
                assert response.status_code == (200 if since <= revision else 404), (path, response.text)
            again = client.post("/v1/jobs", json=SPEC, headers={"Idempotency-Key": "kept"})
            assert again.headers["idempotent-replayed"] == "true"
            (model,) = client.get("/v1/models").json()["data"]  # of a job, registered again if need be
            assert client.get(f"/v1/models/{model['id']}/file").content == b"packed"
            theirs = [row for row in client.get("/v1/keys").json()["data"] if row["name"] == "theirs"]
            assert len(theirs) == (revision < "0006"), "without organisations everything is the first one's"
            assert Attempt(app.state.context.store, again.json()["id"]).job.state is JobState.RUNNING


def _rows(engine: Engine, like: Mapping[str, Rows] | None = None) -> dict[str, Rows]:
    """Every row of every table; of those tables and columns only that ``like`` has."""
    found = MetaData()
    with engine.begin() as connection:
        database.take_time(connection)
        found.reflect(connection)
        return {
            name: _of(connection, table, like[name][0] if like is not None else tuple(table.columns.keys()))
            for name, table in found.tables.items()
            if name != "alembic_version" and (like is None or name in like)
        }


def _of(connection: Connection, table: Table, names: tuple[str, ...]) -> Rows:
    rows = connection.execute(select(*(table.c[name] for name in names)))
    return names, sorted(repr(tuple(row)) for row in rows)


@contextmanager
def _copy(world: World, folder: Path) -> Iterator[Settings]:
    """The settings of a copy of the world: its files, and its database under another name."""
    data = folder / "data"
    shutil.copytree(world.settings.data_dir, data)
    changed = world.settings.model_copy(update={"data_dir": data})
    if world.server is None:
        yield changed
        return
    with new_database(world.server, template=str(make_url(world.settings.url).database)) as url:
        yield changed.model_copy(update={"database_url": SecretStr(url)})
