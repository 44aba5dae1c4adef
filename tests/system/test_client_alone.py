"""The client in an environment that has nothing of the service and no torch, against a real service."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from fqt_client import AsyncClient, Client
from tests.service.running import environment, running

ROOT = Path(__file__).resolve().parents[2]
USER = ROOT / "tests" / "client" / "typed_user.py"


def _needs(name: str, found: set[str]) -> set[str]:
    """The distribution and all that it requires here, as far as it is installed."""
    if name not in found:
        found.add(name)
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _needs(requirement.name.lower().replace("_", "-"), found)
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment: the client's wheel installed, what it requires linked from this one."""
    folder = tmp_path_factory.mktemp("alone")
    wheels = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run([sys.executable, *wheels], cwd=ROOT / "client", check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    here = Path(sysconfig.get_path("purelib"))
    for name in _needs("fqt-client", set()) - {"fqt-client"}:
        for part in {file.parts[0] for file in distribution(name).files or [] if file.parts[0] not in {"..", "."}}:
            if part != "__pycache__" and not (packages / part).exists():
                (packages / part).symlink_to(here / part)
    return python


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of somebody whose service runs, with photos of two classes."""
    folder = tmp_path_factory.mktemp("home")
    for shade, name in ((20, "dark"), (230, "light")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(16):
            Image.new("RGB", (16, 16), (shade + number,) * 3).save(folder / "photos" / name / f"{number}.png")
    with running(folder, "--port", "0"):
        yield folder


def _python(python: Path, home: Path, code: str) -> str:
    command = [str(python), "-W", "error", "-c", code]
    run = subprocess.run(command, env=environment(home), cwd=home, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def _snippets(page: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))


def test_the_snippets_of_the_client_run_as_written_without_torch(alone: Path, home: Path) -> None:
    absent = "import importlib.util as u\nfor name in ('torch', 'numpy', 'service', 'jobs', 'fqt_core', 'fastapi'):\n"
    out = _python(alone, home, absent + "    assert u.find_spec(name) is None, name\n" + _snippets("client/README.md"))
    assert "'kind': 'step'" in out
    assert (home / "model.safetensors").stat().st_size > 1000
    out = _python(alone, home, _snippets("docs/client.md"))
    assert "422 ['training.epochs']" in out
    assert re.search(r"(\d+)/\1 bytes", out)
    assert int(out.splitlines()[-1]) > 10


def test_the_command_alone_looks_at_the_service(alone: Path, home: Path) -> None:
    command = [str(alone.with_name("fqt")), "doctor", "--json"]
    run = subprocess.run(command, env=environment(home), cwd=home, capture_output=True, text=True, check=False)
    found = json.loads(run.stdout)
    assert (run.returncode, run.stderr, {entry["status"] for entry in found}) == (0, "", {"ok"}), run.stdout
    assert {"service", "clock", "version", "readiness", "key"} < {entry["check"] for entry in found}


def test_a_script_of_a_user_is_strictly_typed(alone: Path, tmp_path: Path) -> None:
    script = USER.read_text()
    public = {name for kind in (Client, AsyncClient) for name in dir(kind) if not name.startswith("_")}
    with Client("http://127.0.0.1:1", "fqt_x") as client:
        for part in (client.jobs, client.datasets, client.models, client.sweeps):
            public |= {name for name in dir(part) if not name.startswith("_")}
    assert {name for name in public if f".{name}" not in script} == set()
    (tmp_path / "user.py").write_text(script)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(alone), "--cache-dir"]
    run = subprocess.run(
        [*command, str(tmp_path / "cache"), "user.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stdout == "Success: no issues found in 1 source file\n", run.stdout + run.stderr
