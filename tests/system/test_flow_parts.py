"""The main job with every part a process of its own, by the containers' commands: PostgreSQL, Valkey, an object store.

API and worker have data folders of their own, as on two machines: what one stores, the other has from the object store.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.service import place
from fqt_client import Client, FqtClientError
from service import ports
from tests.object_store import CREDENTIALS, ObjectStore
from tests.service.running import FQT, environment, fqt
from tests.system.flow import whole_flow


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[ObjectStore]:
    server = ObjectStore(ports.any_free(), tmp_path / "objects.log")
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def part(home: Path, *arguments: str, **values: str) -> Iterator[subprocess.Popen[bytes]]:
    """One part as a process; SIGTERM ends it cleanly."""
    with (home / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            [*FQT, *arguments], env=environment(home, **values), cwd=home, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            code = process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert code == 0, (home / f"{arguments[0]}.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_flow_on_servers(tmp_path: Path, postgres_server: str, valkey_url: str, objects: ObjectStore) -> None:
    folder = tmp_path / "secrets"
    written = fqt(tmp_path, "secrets", str(folder), "--database-host", "postgres", "--broker-host", "valkey")
    assert written.returncode == 0, written.stderr
    # The servers of the tests are not at the containers' names; all else comes from the folder, as in containers.
    (folder / "fqt_database_url").write_text(place.another(postgres_server))
    (folder / "fqt_broker_url").write_text(valkey_url)
    files = {"FQT_BLOB_URL": objects.url, "FQT_BLOB_ENDPOINT": objects.endpoint, **CREDENTIALS}
    service = {"FQT_DATA_DIR": str(tmp_path / "api-data"), "FQT_SECRETS_DIR": str(folder), **files}
    elsewhere = service | {"FQT_DATA_DIR": str(tmp_path / "worker-data")}
    migrated = fqt(tmp_path, "migrate", "--json", **service)
    assert migrated.returncode == 0, migrated.stderr
    made = fqt(tmp_path, "keys", "create", "--name", "me", "--json", **service)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    port = ports.any_free()
    user = {"FQT_API_URL": f"http://127.0.0.1:{port}", "FQT_API_KEY": key}

    with part(tmp_path, "api", "--port", str(port), **service), part(tmp_path, "worker", **elsewhere):
        with Client(user["FQT_API_URL"], key, retries=0) as client:
            while not _ready(client):
                time.sleep(0.2)
        whole_flow(lambda *arguments: fqt(tmp_path, *arguments, **user), tmp_path)
    assert not (tmp_path / "api-data" / "fqt.db").exists()  # it was PostgreSQL all the time
    checked = fqt(tmp_path, "admin", "check", "--json", **service)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    copies = [{path.name for path in (tmp_path / name / "blobs").glob("??/*")} for name in ("api-data", "worker-data")]
    assert copies[0] & copies[1]  # the uploaded images and the fetched model
    assert copies[1] - copies[0]  # checkpoints, which nobody has asked the API for


def _ready(client: Client) -> bool:
    try:
        return client.ready().get("worker") is True
    except FqtClientError:
        return False
