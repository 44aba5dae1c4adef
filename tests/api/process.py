"""The API as a process of its own, for tests that need one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from jobs.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


class Api:
    """A ``python -m api`` on a port and a data folder that stay the same when it is started again."""

    def __init__(self, folder: Path, broker: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.settings = Settings(data_dir=folder, port=self.port, broker_url=broker)
        own = {"FQT_DATA_DIR": str(folder), "FQT_PORT": str(self.port), "FQT_BROKER_URL": broker}
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("FQT_")} | own
        self._log = (folder.parent / "api.log").open("ab")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "api"], cwd=ROOT, env=self._environment, stderr=self._log, stdout=self._log
        )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/healthz").raise_for_status()
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(Path(self._log.name).read_text())

    def client(self) -> httpx.Client:
        key = self.settings.key_path.read_text().strip()
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {key}"}, timeout=20
        )

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Send a signal; return the seconds until the process had ended."""
        begin = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(20)
        return time.monotonic() - begin

    def peak_memory(self) -> int:
        """The most memory that the process has used, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()
