"""A server that speaks S3's protocol, as a process of its own, on files in memory."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}


def command(address: str, port: int) -> list[str]:
    return [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)]


class ObjectStore:
    """A server with one bucket on a loopback port. What it holds is gone when it is stopped."""

    def __init__(self, port: int, log: Path) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.url = "s3://files/fqt"
        self._port = port
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command("127.0.0.1", self._port), stdout=log, stderr=log)
        self.make_bucket()

    def make_bucket(self) -> None:
        make_bucket(self.endpoint)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def make_bucket(endpoint: str, seconds: float = 30.0) -> None:
    """Make the bucket ``files`` as soon as the server answers."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/files", method="PUT"), timeout=5):
                return
        except (URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
