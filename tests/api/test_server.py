"""Where the API listens: on this machine alone, unless somebody has a key to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from api.app import create_app
from api.server import _is_loopback, _must_have_a_key
from jobs import keys
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import RecordingDoorbell
from tests.api.process import ROOT


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.0.2.1", False), ("", False), ("localhost.example", False),
    ],
)  # fmt: skip
def test_what_is_this_machine_alone(host: str, loopback: bool) -> None:
    assert _is_loopback(host) is loopback


def test_the_default_is_this_machine_alone() -> None:
    assert _is_loopback(Settings().host)


def test_without_a_key_that_opens_it_the_api_does_not_listen_to_other_machines(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", host="0.0.0.0", port=0)
    store = Store.open(settings, migrate=True)
    with store.write() as connection:
        key, _ = keys.create(connection, store.key_secret, name="old", scopes=["admin"])
        keys.revoke(connection, key.id)
    given = {"FQT_DATA_DIR": str(settings.data_dir), "FQT_HOST": "0.0.0.0", "FQT_PORT": "0"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FQT_")} | given
    run = subprocess.run(
        [sys.executable, "-m", "api"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    [line] = [line for line in run.stderr.splitlines() if not line.startswith("{")]
    assert line.startswith("fqt api: refused to listen on 0.0.0.0, since no API key is valid: make one with `fqt keys ")
    with store.write() as connection:
        keys.create(connection, store.key_secret, name="new", scopes=["admin"])
    app = create_app(settings, doorbell=RecordingDoorbell())
    _must_have_a_key(app, settings)
    app.state.context.store.close()
    store.close()


def test_where_there_is_no_key_at_all_the_first_one_is_made_as_on_a_first_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", host="0.0.0.0")
    app = create_app(settings, doorbell=RecordingDoorbell())
    _must_have_a_key(app, settings)
    assert settings.key_path.stat().st_mode & 0o777 == 0o600
    app.state.context.store.close()
