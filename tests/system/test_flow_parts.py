"""The main job with every part a process of its own, on PostgreSQL and a Valkey server, by the containers' commands."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from fqt_client import Client, FqtClientError
from service import ports
from tests.fixtures import render
from tests.service.running import FQT, environment, fqt
from tests.system.flow import whole_flow


@pytest.fixture
def empty_database(postgres_server: str) -> str:
    """A PostgreSQL database without tables."""
    name = f"flow_{secrets.token_hex(6)}"
    engine = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return render(make_url(postgres_server).set(database=name))


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
def test_the_whole_flow_on_postgresql_and_valkey(tmp_path: Path, empty_database: str, valkey_url: str) -> None:
    folder = tmp_path / "secrets"
    written = fqt(tmp_path, "secrets", str(folder), "--database-host", "postgres", "--broker-host", "valkey")
    assert written.returncode == 0, written.stderr
    # The servers of the tests are not at the containers' names; all else comes from the folder, as in containers.
    (folder / "fqt_database_url").write_text(empty_database)
    (folder / "fqt_broker_url").write_text(valkey_url)
    service = {"FQT_DATA_DIR": str(tmp_path / "data"), "FQT_SECRETS_DIR": str(folder)}
    migrated = fqt(tmp_path, "migrate", "--json", **service)
    assert migrated.returncode == 0, migrated.stderr
    made = fqt(tmp_path, "keys", "create", "--name", "me", "--json", **service)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)["key"]
    port = ports.any_free()
    user = {"FQT_API_URL": f"http://127.0.0.1:{port}", "FQT_API_KEY": key}

    with part(tmp_path, "api", "--port", str(port), **service), part(tmp_path, "worker", **service):
        with Client(user["FQT_API_URL"], key, retries=0) as client:
            while not _ready(client):
                time.sleep(0.2)
        whole_flow(lambda *arguments: fqt(tmp_path, *arguments, **user), tmp_path)
    assert not (tmp_path / "data" / "fqt.db").exists()  # it was PostgreSQL all the time


def _ready(client: Client) -> bool:
    try:
        return client.ready().get("worker") is True
    except FqtClientError:
        return False
