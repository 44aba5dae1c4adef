"""One service for all hostile inputs of a file, with a worker's inspection whose children are watched."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import RecordingDoorbell
from worker.inspection import Inspector

MIB = 2**20
_SECONDS = 2.0
_MEMORY = 256 * MIB
_CHILD = str(Path(__file__).with_name("measured_child.py"))


class Service:
    """An API in this process and a worker's inspection in a thread of it, which starts real children."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        self.notes.mkdir(parents=True)
        self.doorbell = RecordingDoorbell()
        self.settings = Settings(data_dir=folder / "data", max_upload_bytes=32 * MIB, reaper_seconds=600, **settings)
        app = create_app(self.settings, doorbell=self.doorbell)
        self.client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        self.client.__enter__()
        self.client.headers["Authorization"] = f"Bearer {self.settings.key_path.read_text().strip()}"
        self.store: Store = app.state.context.store
        command = [sys.executable, "-P", _CHILD, str(self.notes)]
        inspector = Inspector(self.store, threading.Event(), [*command, "inspect"], [*command, "fetch"])
        self.doorbell.on_dataset = inspector.run
        self.names({})
        self.routes({})

    def close(self) -> None:
        self.client.__exit__(None, None, None)

    def names(self, answers: Mapping[str, list[list[str]]]) -> None:
        """What names resolve to: one answer for each time that they are asked for, the last one for ever."""
        (self.notes / "names.json").write_text(json.dumps(answers))

    def routes(self, ports: Mapping[str, int]) -> None:
        """Which addresses a fetching child reaches: a port on loopback for each."""
        (self.notes / "routes.json").write_text(json.dumps(ports))

    def network(self, kind: str) -> list[str]:
        """What the last fetching child asked for (``resolve``, ``connect``)."""
        path = self.notes / "network"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line[kind] for line in lines if kind in line]

    def upload(self, content: bytes, filename: str = "images.zip") -> Any:
        return self.client.post("/v1/datasets", params={"wait": 20}, files={"file": (filename, content)})

    def import_url(self, url: str, **fields: Any) -> Any:
        return self.client.post("/v1/datasets/from-url", params={"wait": 20}, json={"url": url, **fields})

    def refused(self, send: Callable[[], Any], *codes: str) -> dict[str, Any]:
        """Have something hostile refused, and nothing come of it: see the module of each test.

        Returns the problem document. Asserts that it is a typed 4xx within two seconds (without those that were spent
        waiting for a core, on a machine that is busy), that neither this process nor a child took 256 MB more memory,
        and that no file is left anywhere below the folder of the test.
        """
        for name in ("peak", "network", "waited"):
            (self.notes / name).unlink(missing_ok=True)
        before = self.files(), self._datasets()
        base = _restart_peak()
        waited, begin = _waited(), time.monotonic()
        response = send()
        seconds = time.monotonic() - begin - (_waited() - waited)
        if (note := self.notes / "waited").exists():
            seconds -= int(note.read_text()) / 1e9
        peak = self.notes / "peak"
        if response.is_success:  # so that what is not refused fails one test only
            self.client.delete(f"/v1/datasets/{response.json()['id']}")
        assert 400 <= response.status_code < 500, response.text
        problem: dict[str, Any] = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert problem["code"] in codes, problem
        assert problem["request_id"]
        assert seconds < _SECONDS, f"{seconds:.2f} s"
        assert _status("VmHWM") - base < _MEMORY
        if peak.exists():
            assert int(peak.read_text()) < _MEMORY  # all of it: Python and its libraries take a sixth of that
        assert (self.files(), self._datasets()) == before
        return problem

    def _datasets(self) -> list[str]:
        return [row["id"] for row in self.client.get("/v1/datasets").json()["data"]]

    def files(self) -> list[Path]:
        """Every file and link below the test's folder but the database's own and the notes."""
        return sorted(
            path
            for path in self.folder.rglob("*")
            if (path.is_symlink() or not path.is_dir())
            and self.notes not in path.parents
            and not path.name.startswith("fqt.db")
        )


def _restart_peak() -> int:
    """Have the kernel measure this process's peak from now on; return the memory that it takes now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _waited() -> float:
    """Seconds that the threads of this process have waited for a core."""
    nanoseconds = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError):  # a thread that has just ended
            nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def _status(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("hostile") / "service")
    yield made
    made.close()
