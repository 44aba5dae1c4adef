"""The child's side of the protocol: speaking to the supervisor, listening to it, and ending when it is gone."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import BinaryIO

from pydantic import BaseModel

from worker.protocol import Exit, Word


class Lifeline:
    """Both directions between this child and its supervisor. Make it first: from then on the child ends with it."""

    def __init__(self, events: int) -> None:
        self._events: BinaryIO = os.fdopen(events, "wb", buffering=0)
        self._lock = threading.Lock()
        self.stop = threading.Event()
        self.cancel = threading.Event()
        # What loads and runs in this process must not read the supervisor's words.
        words = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, sys.stdin.fileno())
        os.close(nothing)
        threading.Thread(target=self._listen, args=(words,), name="lifeline", daemon=True).start()

    def send(self, message: BaseModel) -> None:
        """Write one message: a line of JSON, whole."""
        line = json.dumps(message.model_dump(), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[self._events.write(view) :]

    def _listen(self, words: BinaryIO) -> None:
        buffer = b""
        while chunk := words.read(64):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                if line == Word.STOP.encode():
                    self.stop.set()
                elif line == Word.CANCEL.encode():
                    self.cancel.set()
                    self.stop.set()
        # Nobody is there to keep what this process does: at once, without cleaning up, which could take long.
        os._exit(Exit.ORPHANED)
