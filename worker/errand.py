"""A child that does one piece of the work on a data set, while the lease of the look is renewed."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from jobs import datasets
from jobs.records import Dataset
from jobs.store import Store
from worker.process import Child, child_environment
from worker.protocol import Message

_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Ended:
    """How a child ended: what it said, why it was broken off (if it was), its exit code, and its last lines."""

    messages: list[Message]
    broken_off: Literal["time", "lost", "drained"] | None
    code: int
    log: list[str]


class Errand:
    """Runs children for one look at a data set."""

    def __init__(self, store: Store, draining: threading.Event, dataset: Dataset) -> None:
        self._store = store
        self._draining = draining
        self._dataset = dataset

    def run(self, command: Sequence[str], folder: Path, seconds: float) -> Ended:
        """Start a child in its folder and wait for it, at most so long."""
        child = Child(command, folder, child_environment(folder, 1))
        try:
            messages, broken_off = self._listen(child, seconds)
        finally:
            child.kill()
            code = child.finish(0)
        return Ended(messages, broken_off, code, child.log_tail())

    def _listen(self, child: Child, seconds: float) -> tuple[list[Message], Literal["time", "lost", "drained"] | None]:
        started = renewed = time.monotonic()
        messages: list[Message] = []
        while not child.buffer.exhausted:
            messages += child.buffer.take(100, _LOOK_SECONDS)
            instant = time.monotonic()
            if child.ended():
                child.signal(signal.SIGKILL)  # what it left behind may hold the pipe open
            elif self._draining.is_set():
                return [], "drained"
            elif instant - started > seconds:
                return [], "time"
            elif instant - renewed >= self._store.settings.heartbeat_seconds:
                renewed = instant
                if not self._renew():
                    return [], "lost"
        return messages, None

    def _renew(self) -> bool:
        """Renew the lease of this look. A database that is away decides nothing: the outcome is fenced by its epoch."""
        with contextlib.suppress(SQLAlchemyError), self._store.write() as connection:
            lease_seconds = self._store.settings.lease_seconds
            return datasets.renew_check(connection, self._dataset.id, self._dataset.check_epoch, lease_seconds)
        return True
