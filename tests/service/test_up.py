"""`fqt up` as people use it: real processes, real signals."""

from __future__ import annotations

import json
import signal
import socket
import stat
import time
from pathlib import Path

import psutil
import pytest

from fqt_client import Client, FqtClientError
from tests.service.running import Up, fqt, running, wait_until_gone


def _answers(client: Client) -> bool:
    try:
        return bool(client.ready().get("worker"))
    except FqtClientError:
        return False


def test_from_start_to_ctrl_c(tmp_path: Path) -> None:
    """One life of a service, step by step: starting one costs seconds."""
    with running(tmp_path, "--port", "0") as up:
        # The configuration is the user's alone, and the other commands find the service by it.
        config = Path(up.ready["config"])
        assert config == tmp_path / ".config" / "fqt" / "client.json"
        assert stat.S_IMODE(config.stat().st_mode) == 0o600
        listed = fqt(tmp_path, "datasets", "list", "--json")
        assert listed.returncode == 0, listed.stderr
        assert "digits" in {entry["id"] for entry in json.loads(listed.stdout)}

        # No secret is in a process list.
        key = json.loads(config.read_text())["api_key"]
        lines = [" ".join(process.cmdline()) for process in up.family()]
        assert len(lines) >= 3
        assert not any(key in line or "requirepass" in line or "redis://" in line for line in lines)

        # A second one on the same folder says where the first one is.
        second = fqt(tmp_path, "up")
        assert second.returncode == 5
        assert f"already at {up.ready['url']}" in second.stderr
        assert second.stderr.count("\n") == 1

        # A part that crashes is reported with its last lines, and comes back.
        api = psutil.Process(up.ready["children"]["api"])
        api.kill()
        up.wait_for("The api was ended by SIGKILL; starting it again")
        deadline = time.monotonic() + 30
        with Client(up.ready["url"], key) as client:
            while not _answers(client):
                assert time.monotonic() < deadline
                time.sleep(0.2)
        family = up.family()
        assert up.end(signal.SIGINT) == 0
        assert wait_until_gone(family) == []

    # The same key opens the service the next time: what people wrote into their scripts goes on working.
    assert (tmp_path / ".local" / "share" / "fqt" / "key").read_text().strip() == key


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0") as up:
        family = up.family()
        assert len(family) >= 3
        up.process.kill()
        up.process.wait()
        assert wait_until_gone(family, 5) == []
        half = tmp_path / ".local" / "share" / "fqt" / "blobs" / "incoming" / "half"
        half.write_bytes(b"part of an upload")
    with running(tmp_path, "--port", "0") as again:  # nothing of the dead one is in the way
        assert not half.exists()
        assert again.end(signal.SIGTERM) == 0


def test_a_stop_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    up = Up(tmp_path, "--port", "0")
    up.wait_for("Starting the API")
    time.sleep(0.2)
    family = up.family()
    assert up.end(signal.SIGTERM) == 0
    assert wait_until_gone(family) == []


def test_a_configuration_for_another_service_is_left_alone(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "fqt" / "client.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"base_url": "https://fqt.example.org", "api_key": "fqt_theirs"}')
    with running(tmp_path, "--port", "0", "--data-dir", str(tmp_path / "data")) as up:
        assert json.loads(config.read_text())["api_key"] == "fqt_theirs"
        assert Path(up.ready["config"]) == tmp_path / "data" / "client.json"
        stored = json.loads((tmp_path / "data" / "client.json").read_text())
        assert stored["base_url"] == up.ready["url"]
        assert stat.S_IMODE((tmp_path / "data" / "client.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("arguments", "values", "said"),
    [
        (["--data-dir", "/proc/nowhere"], {}, "cannot write to the data folder /proc/nowhere"),
        ([], {"FQT_LEASE_SECONDS": "soon"}, "FQT_LEASE_SECONDS"),
        ([], {"FQT_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}, "the database cannot be used"),
        ([], {"FQT_BROKER_URL": "redis://127.0.0.1:1/0"}, "the broker"),
    ],
    ids=["folder", "setting", "database", "broker"],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], values: dict[str, str], said: str
) -> None:
    run = fqt(tmp_path, "up", "--port", "0", *arguments, **values)
    assert run.returncode == 5
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
    assert "Traceback" not in run.stdout + run.stderr


def test_an_address_of_no_machine_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    run = fqt(tmp_path, "up", "--host", "999.1.1.1", "--data-dir", str(tmp_path / "data"))
    assert run.returncode == 5
    assert run.stderr.startswith("fqt: cannot listen on 999.1.1.1: ")
    assert run.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        run = fqt(tmp_path, "up", "--port", str(port))
    assert run.returncode == 5
    assert f"port {port} of 127.0.0.1 is taken" in run.stderr
