"""`fqt doctor` on a machine of the service: each thing is broken for real, and found with its remedy."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fqt_client.cli.findings import Finding
from jobs.settings import Settings
from service import doctor, gpu_doctor
from service.lock import DataDirLock
from tests.service.running import fqt


def _ill(findings: Iterator[Finding]) -> Finding:
    [found] = [finding for finding in findings if finding.status != "ok"]
    return found


def test_the_whole_command_ends_with_5_and_a_line_for_each_thing(tmp_path: Path) -> None:
    config = tmp_path / ".config" / "fqt" / "client.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"base_url": "http://127.0.0.1:1", "api_key": "fqt_x"}')
    config.chmod(0o644)
    run = fqt(tmp_path, "doctor", "--json", FQT_ISA="mmx")
    assert (run.returncode, run.stderr) == (5, "")
    broken = {entry["check"]: entry for entry in json.loads(run.stdout) if entry["status"] == "broken"}
    assert set(broken) == {"configuration", "kernels", "service"}
    assert broken["configuration"]["remedy"] == f"chmod 600 {config}"
    assert "FQT_ISA='mmx' is unknown" in broken["kernels"]["message"]
    assert "cannot reach the service at http://127.0.0.1:1" in broken["service"]["message"]
    wrong = fqt(tmp_path, "doctor", FQT_ISA="reference", FQT_LEASE_SECONDS="1")
    assert "warning  kernels: uses reference (forced by FQT_ISA)" in wrong.stdout
    assert "BROKEN   settings: the settings are wrong: FQT_HEARTBEAT_SECONDS (3) must be at most half" in wrong.stdout


def test_a_gpu_is_looked_at_alone(tmp_path: Path) -> None:
    run = fqt(tmp_path, "doctor", "--gpu", "--json", CUDA_VISIBLE_DEVICES="")
    [finding] = json.loads(run.stdout)
    assert (run.returncode, finding["check"], finding["status"]) == (5, "GPU", "broken")
    assert "no CUDA device that torch" in finding["message"]
    assert "NVIDIA's driver" in finding["remedy"]


def test_what_is_found_on_a_gpu_is_told() -> None:
    """The report of the processor stands for that of a GPU."""
    module = [sys.executable, "-m", "fqt_core.verification", "--json", "--device", "cpu", "--equality"]
    findings = list(gpu_doctor.checks([*module, "--operation", "pack_sign"]))
    assert [(finding.check, finding.status) for finding in findings] == [("GPU", "ok"), ("bit-equality", "ok")]
    assert findings[1].message.startswith("1 of 1 operations give the reference's results, in 18 cases")

    verdict = {"operation": "a", "kernel": "cuda", "cases": 4, "differing": ["1x1", "2x2"], "error": None}
    fallback = {**verdict, "operation": "b", "kernel": "reference", "differing": [], "error": "RuntimeError:\n no"}
    speed = {"operation": "c", "ms": 0.5, "figure": 2.0, "unit": "GB/s", "share": 0.25, "layer": "3x3", "variant": "v"}
    report = {"name": "A100", "device": "cuda", "torch": "3", "verdicts": [verdict, fallback], "kernels": 0}
    text = json.dumps(report | {"copy_gb_per_s": 1500.0, "speeds": [speed]})
    findings = list(gpu_doctor.checks([sys.executable, "-c", f"print({text!r})"]))
    assert [(finding.check, finding.status) for finding in findings] == [
        ("GPU", "ok"),
        ("kernels", "warning"),
        ("bit-equality", "broken"),
        ("bit-equality", "warning"),
        ("bit-equality", "ok"),
        ("bandwidth", "ok"),
        ("speed", "ok"),
    ]
    assert findings[2].message == "a (cuda): differs from the reference in 2 cases, first at 1x1"
    assert findings[3].message == "b (reference): RuntimeError: no"
    assert findings[-1].message == "c: 0.5000 ms, 2.0 GB/s, 25% of a copy, 3x3 (v)"


def test_an_extension_that_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = "import sys\nsys.modules['fqt_core._native'] = None\n"
    monkeypatch.setattr(doctor, "_KERNELS", hidden + doctor._KERNELS)
    monkeypatch.setenv("PATH", "")
    finding = _ill(doctor.kernels())
    assert "the native extension is not built" in finding.message
    assert str(finding.remedy).startswith("install a C++ compiler")


def test_a_machine_without_network_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a user namespace of its own a process may forbid them to itself, as an administrator does to all."""
    forbidden = (
        "import ctypes, pathlib\n"
        "assert ctypes.CDLL(None).unshare(0x10000000) == 0\n"
        "pathlib.Path('/proc/sys/user/max_net_namespaces').write_text('0')\n"
    )
    monkeypatch.setattr(doctor, "_SANDBOX", forbidden + doctor._SANDBOX)
    finding = _ill(doctor.sandbox())
    assert finding.message.startswith("network: not possible here")
    assert "user namespaces" in str(finding.remedy)


def test_settings_beyond_the_machine(tmp_path: Path) -> None:
    greedy = Settings(data_dir=tmp_path, slots=200, child_memory_bytes=1 << 40, threads=4000)
    assert [finding.check for finding in doctor.capacity(greedy) if finding.status == "warning"] == ["memory", "cores"]
    many = Settings(data_dir=tmp_path, slots=256)
    assert "a job gets" in next(doctor.capacity(many)).message


def test_a_data_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in _ill(doctor.folder(Settings(data_dir=tmp_path / "file" / "data"))).message
    (tmp_path / "key").write_text("fqt_x")
    (tmp_path / "key").chmod(0o640)
    assert _ill(doctor.folder(Settings(data_dir=tmp_path))).remedy == f"chmod 600 {tmp_path / 'key'}"
    (tmp_path / "key").chmod(0o600)
    full = Settings(data_dir=tmp_path, min_free_bytes=shutil.disk_usage(tmp_path).total)
    assert "workers take no jobs" in str(_ill(doctor.folder(full)).remedy)


def test_a_service_that_runs_one_that_crashed_and_a_port_that_is_taken(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert list(doctor.leftovers(settings)) == []
    with DataDirLock(tmp_path) as lock:
        lock.tell(pid=7, url="http://127.0.0.1:8000")
        [runs] = doctor.leftovers(settings)
    assert (runs.status, runs.message) == ("ok", "runs at http://127.0.0.1:8000 (process 7)")
    assert list(doctor.leftovers(settings)) == []
    code = "import os, signal; from pathlib import Path; from service.lock import DataDirLock\n"
    code += f"with DataDirLock(Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert "did not end cleanly" in _ill(doctor.leftovers(settings)).message
    (tmp_path / "up.lock").unlink()
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = Settings(data_dir=tmp_path, port=server.getsockname()[1])
        assert "is taken" in _ill(doctor.leftovers(taken)).message


def test_servers_that_do_not_answer(tmp_path: Path) -> None:
    away = "postgresql://fqt:hunter2@127.0.0.1:1/none"
    settings = Settings(data_dir=tmp_path, database_url=away, broker_url="redis://127.0.0.1:1/0")
    database, broker = doctor.servers(settings)
    assert (database.status, broker.status) == ("broken", "broken")
    assert "hunter2" not in str(database) + str(broker)
    wrong = Settings(data_dir=tmp_path, broker_url="nonsense")
    assert "redis://HOST:PORT/0" in str(_ill(doctor.servers(wrong)).remedy)
