"""A process of the service that is started again whenever it has ended, as an orchestrator would."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.system.chaos.hosts import LEASHED

_LOOK_SECONDS = 0.05
_RESTART_SECONDS = 0.2


class Part:
    """One process under a name. ``starts`` counts how often it was started."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.starts = 0
        self.log = log
        self._command = list(command)
        self._environment = {key: value for key, value in os.environ.items() if not key.startswith("FQT_")}
        self._environment |= environment
        self._process: subprocess.Popen[bytes] | None = None
        self._not_before = 0.0

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that runs, or the last one that did."""
        assert self._process is not None
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*LEASHED, *self._command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.starts += 1

    def kill(self) -> None:
        """End it for good, and wait for that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stay_away(self, seconds: float) -> None:
        """Do not start it again for so long."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def upkeep(self) -> None:
        """Start it, if it has ended and may run."""
        if self.running or time.monotonic() < self._not_before:
            return
        if self._process is None or self._not_before:
            self._not_before = 0.0
            self.start()
        else:
            self._not_before = time.monotonic() + _RESTART_SECONDS


class Keeper:
    """Looks after all parts, in a thread of its own, in which they also start: they die with it."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper")

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for part in self._parts:
            part.kill()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            for part in self._parts:
                part.upkeep()
