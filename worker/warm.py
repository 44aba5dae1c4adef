"""A child that stays: it keeps torch and the models that it has read, and answers one question after the other.

It has no network, no database and limited memory, since the images and models that it reads may come from anyone. One
that dies, or takes too long and is ended, is replaced at the next question.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog

from jobs.asks import Desk, encode
from jobs.errors import BlobError, StorageAwayError
from jobs.ids import new_id
from jobs.store import Store
from worker.capacity import child_limits, threads_per_slot
from worker.process import Child, child_command, child_environment
from worker.protocol import Answered, ModelInput
from worker.workdir import workdir

_log = structlog.stdlib.get_logger(__name__)

MODEL_COMMAND: Sequence[str] = child_command("worker.model_child")
_LOOK_SECONDS = 0.5


class WarmChild:
    """The child of one desk. Not thread-safe: its listener alone talks to it."""

    def __init__(
        self, store: Store, draining: threading.Event, desk: Desk, command: Sequence[str] = MODEL_COMMAND
    ) -> None:
        self._store = store
        self._draining = draining
        self._desk = desk
        self._command = command
        self._stack = contextlib.ExitStack()
        self._child: Child | None = None

    def answer(self, header: dict[str, Any], payload: Sequence[bytes]) -> dict[str, Any]:
        """Have the child answer: ``ok`` and what it found, or ``code`` and ``message``.

        The file that the question names by ``sha256`` is handed over as a path; a file that the child made comes back
        as ``sha256`` and ``size`` of the store.
        """
        settings = self._store.settings
        try:
            path = self._store.blobs.local(header["sha256"]).resolve()
        except BlobError as error:
            return _failure("file_missing", str(error))
        except StorageAwayError:
            return _failure("storage_away", "the object store of the stored files does not answer")
        seconds = settings.predict_seconds if self._desk == "predict" else settings.export_seconds
        child = self._running()
        answer = self._ask(child, encode({**header, "path": str(path)}, payload), seconds)
        if answer is None:
            crashed = child.ended()
            code = self.close()
            if self._draining.is_set():
                return _failure("worker_stops", "the worker is being stopped")
            if not crashed:
                return _failure("too_slow", f"it took longer than {seconds:g} seconds")
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return _failure("child_died", f"the process that was at it ended with {name}")
        if (file := answer.pop("file", None)) is not None:
            blob = self._store.blobs.put_file(self._folder / str(file))
            (self._folder / str(file)).unlink()
            answer |= {"sha256": blob.sha256, "size": blob.size}
        return answer

    def close(self) -> int:
        """End the child, if there is one; return its exit code (negative: a signal)."""
        code = 0
        if self._child is not None:
            ended = self._child.ended()
            if not ended:
                self._child.kill()
            code = self._child.finish(0)
            if ended:
                _log.warning("a model process ended", desk=self._desk, code=code, log=self._child.log_tail())
            self._child = None
        self._stack.close()
        return code

    def _running(self) -> Child:
        if self._child is not None and not self._child.ended():
            return self._child
        self.close()
        settings = self._store.settings
        limits = child_limits(settings)
        memory = min(limits.memory_bytes, settings.predictor_memory_bytes)
        root, name = settings.data_dir / "work", new_id(self._desk)
        self._folder = self._stack.enter_context(workdir(root, name))
        threads = threads_per_slot(settings)
        data = ModelInput(
            limits=limits.model_copy(update={"memory_bytes": memory, "nice": 0}),
            threads=threads,
            cache_bytes=settings.predictor_cache_bytes,
        )
        (self._folder / "models.json").write_text(data.model_dump_json())
        self._child = Child(self._command, self._folder, child_environment(self._folder, threads))
        return self._child

    def _ask(self, child: Child, frame: bytes, seconds: float) -> dict[str, Any] | None:
        """The child's answer; ``None`` if it died or took too long, or the worker is draining."""
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            child.write(len(frame).to_bytes(8, "big") + frame, deadline)
            while not (child.buffer.exhausted or self._draining.is_set() or time.monotonic() > deadline):
                for message in child.buffer.take(1, _LOOK_SECONDS):
                    if isinstance(message, Answered):
                        return {"ok": message.ok, **message.values}
                if child.ended():
                    child.signal(signal.SIGKILL)  # what it left behind may hold the pipe open
        if not child.ended() and time.monotonic() < deadline:  # it has closed its pipe and is about to end
            child.finish(_LOOK_SECONDS)
        return None


def _failure(code: str, message: str) -> dict[str, Any]:
    return {"ok": False, "code": code, "message": message}
