"""The compose file and the image: what runs in containers is what the tests run by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service import cli as service_cli
from service.secrets import make_secrets

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The compose file as the composer reads it, all profiles on."""
    command = [Path(sys.executable).parent / "docker-compose", "--profile", "*", "-f", ROOT / "docker-compose.yml"]
    run = subprocess.run([*command, "config", "--format", "json"], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


def test_each_container_of_ours_runs_a_command_that_exists(compose: dict[str, Any]) -> None:
    commands = set(get_command(service_cli.app).commands)  # type: ignore[attr-defined]
    ours = {name: part["command"][0] for name, part in compose["services"].items() if part["image"].startswith("fqt:")}
    assert set(ours) == {"secrets", "migrate", "api", "worker", "worker-gpu"}
    assert set(ours.values()) <= commands


def test_parts_start_in_order_and_only_on_what_is_healthy(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    for name in ("api", "worker", "worker-gpu"):
        needs = {other: need["condition"] for other, need in services[name]["depends_on"].items()}
        assert needs["migrate"] == "service_completed_successfully"
        assert needs["valkey"] == "service_healthy"
    assert all("healthcheck" in services[name] for name in ("postgres", "valkey", "api"))


def test_no_password_has_a_default_and_only_loopback_is_published(compose: dict[str, Any]) -> None:
    for name, part in compose["services"].items():
        for variable in part.get("environment", {}):
            assert not re.search(r"PASSWORD$|SECRET$|_KEY$", variable), (name, variable)
        assert all(port["host_ip"] == "127.0.0.1" for port in part.get("ports", []))


def test_containers_of_ours_are_confined(compose: dict[str, Any]) -> None:
    for part in compose["services"].values():
        if part["image"].startswith("fqt:"):
            assert part["read_only"]
            assert part["cap_drop"] == ["ALL"]
    assert re.search(r"^USER 10001:10001$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_worker_with_a_gpu_runs_an_image_with_kernels_for_it(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    assert worker["environment"]["FQT_QUEUES"] == "cuda"
    assert worker["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    parts = re.split(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert re.search(r"-D FQT_CUDA=1.*assert native\.CUDA_KERNELS", stages["build-cuda"], re.DOTALL)
    assert "COPY --from=build-cuda /opt/fqt" in stages["cuda"]
    assert "FQT_CUDA" not in stages["build-cpu"]
    option = re.search(r"-D (FQT_CUDA_TARGETS)=", stages["build-cuda"])
    assert option is not None
    assert f"set({option[1]} " in (ROOT / "csrc/cuda.cmake").read_text()


def test_workers_and_the_api_have_time_to_stop(compose: dict[str, Any]) -> None:
    from api.server import GRACE_SECONDS
    from jobs.settings import Settings

    def seconds(name: str) -> int:
        match = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", compose["services"][name]["stop_grace_period"])
        assert match is not None
        return int(match[1] or 0) * 60 + int(match[2] or 0)

    settings = Settings()
    # The child is asked, then ended; then its job is given back, and a database that is away is waited for: until the
    # lease lapses, and once more to tell that it was not the job's fault.
    drain = settings.stop_grace_seconds + settings.kill_grace_seconds + 2 * settings.lease_seconds
    assert seconds("worker") > drain
    assert seconds("worker-gpu") > drain
    assert GRACE_SECONDS < 5 < seconds("api")


def test_secrets_are_random_private_and_made_once(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert "fqt_secret" in make_secrets(first, database_host="db", broker_host="broker")
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    assert make_secrets(first, database_host="db", broker_host="broker") == []
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    make_secrets(second, database_host="db", broker_host="broker")
    assert not {path.read_bytes() for path in second.iterdir()} & set(before.values())
    assert {path.stat().st_mode & 0o777 for path in first.glob("fqt_*")} == {0o600}
