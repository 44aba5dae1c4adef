"""The child's side of the protocol: speaking to the supervisor, listening to it, and ending when it is gone."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

from pydantic import BaseModel

from fqt_core.events import StepDone
from fqt_core.parallel.launch import end_with
from worker.protocol import Exit, Word

_STEPS_SECONDS = 0.25


class Lifeline:
    """Both directions between this child and its supervisor.

    Make it first, confine the process, then :meth:`listen`: from then on the child ends with its supervisor. The thread
    that listens must not be there before: a process of several threads cannot enter a user namespace.
    """

    def __init__(self, events: int) -> None:
        self._events: BinaryIO = os.fdopen(events, "wb", buffering=0)
        self._lock = threading.Lock()
        self._held: list[bytes] = []
        self._written = time.monotonic()
        self.start = threading.Event()
        self.stop = threading.Event()
        self.cancel = threading.Event()
        # What loads and runs in this process must not read the supervisor's words.
        self._words: BinaryIO = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)

    def listen(self) -> None:
        """Heed the supervisor's words from now on, and its end, even if it came before."""
        threading.Thread(target=self._listen, name="lifeline", daemon=True).start()

    def watch(self) -> None:
        """Instead of :meth:`listen`, where another process reads the words: end when nobody is there to say any."""
        end_with(self._words.fileno(), Exit.ORPHANED)

    def send(self, message: BaseModel) -> None:
        """Write one message: a line of JSON, whole.

        Reports of steps may wait for those that follow within a quarter of a second, or for the next other message:
        each piece wakes the supervisor, which may take the core from the training.
        """
        line = json.dumps(message.model_dump(), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._held.append(line)
            if not isinstance(message, StepDone) or time.monotonic() - self._written >= _STEPS_SECONDS:
                self._write()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        view = memoryview(b"".join(self._held))
        self._held = []
        while view:
            view = view[self._events.write(view) :]
        self._written = time.monotonic()

    def frames(self) -> Iterator[bytes]:
        """Instead of :meth:`listen`: what the supervisor writes, each piece after its length in 8 bytes, to the end."""
        with os.fdopen(os.dup(self._words.fileno()), "rb") as source:
            while len(length := source.read(8)) == 8:
                yield source.read(int.from_bytes(length, "big"))

    def _listen(self) -> None:
        buffer = b""
        while chunk := self._words.read(64):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if line == Word.START.encode():
                    self.start.set()
                elif line == Word.STOP.encode():
                    self.stop.set()
                elif line == Word.CANCEL.encode():
                    self.cancel.set()
                    self.stop.set()
        # Nobody is there to keep what this process does: at once, without cleaning up, which could take long.
        os._exit(Exit.ORPHANED)
