"""`fqt` and `fqt up` as real processes, in a home folder of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

FQT = [sys.executable, "-m", "fqt_client"]
START_SECONDS = 60


def environment(home: Path, **values: str) -> dict[str, str]:
    """The environment of a user who has nothing configured, and of whom the tests leave no trace."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FQT_", "XDG_"))}
    # One thread per job: on a busy machine, threads that wait for each other make small networks many times slower.
    return kept | {"HOME": str(home), "OMP_NUM_THREADS": "1", "FQT_THREADS": "1", "COLUMNS": "120"} | values


def fqt(home: Path, *arguments: str, timeout: float = 120, **values: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [*FQT, *arguments],
        env=environment(home, **values),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class Up:
    """A running `fqt up`."""

    def __init__(self, home: Path, *arguments: str, **values: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [*FQT, "up", "--json", *arguments],
            env=environment(home, **values),
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[dict[str, Any]] = []
        self.ready: dict[str, Any] = {}

    def wait_until_ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if self.said[-1]["event"] == "ready":
                self.ready = self.said[-1]
                return self.ready
        raise AssertionError(f"`fqt up` ended: {self.said} {self.process.communicate()[1]}")

    def wait_for(self, text: str) -> None:
        """Wait until it says so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if text in self.said[-1].get("message", ""):
                return
        raise AssertionError(f"`fqt up` did not say {text!r}: {self.said}")

    def family(self) -> list[psutil.Process]:
        """All processes below it, now."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode


def wait_until_gone(processes: list[psutil.Process], seconds: float = 15) -> list[psutil.Process]:
    """Those that are still there after that time. A zombie without a parent to collect it is gone."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        alive = [entry for entry in processes if entry.is_running() and entry.status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return []
        time.sleep(0.05)
    return alive


@contextmanager
def running(home: Path, *arguments: str, **values: str) -> Iterator[Up]:
    """A service that is ready; ended with the block, and nothing of it is left."""
    up = Up(home, *arguments, **values)
    family: list[psutil.Process] = []
    try:
        up.wait_until_ready()
        family = up.family()
        yield up
    finally:
        up.end()
        left = wait_until_gone(family)
        for process in left:
            process.kill()
        assert not left
