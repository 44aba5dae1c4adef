"""Looks through an uploaded data set in a child with limits, and writes what it found."""

from __future__ import annotations

import contextlib
import signal
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fqt_core.events import Failed
from jobs import blob_rows, datasets
from jobs.blobs import Blob
from jobs.errors import BlobError, BlobMissingError, BlobTooLargeError
from jobs.records import Dataset
from jobs.store import Store
from worker.capacity import child_limits
from worker.process import Child, child_command, child_environment
from worker.protocol import THUMBNAILS, InspectionInput, Message, Profiled
from worker.workdir import workdir

_log = structlog.stdlib.get_logger(__name__)

INSPECTION_COMMAND: Sequence[str] = child_command("worker.inspect_child")
_LOOK_SECONDS = 0.2
_LARGEST_THUMBNAILS = 16 * 2**20


class Inspector:
    """Inspects data sets. ``draining`` set: leave the look to another worker."""

    def __init__(self, store: Store, draining: threading.Event, command: Sequence[str] = INSPECTION_COMMAND) -> None:
        self._store = store
        self._draining = draining
        self._command = command

    def run(self, dataset_id: str) -> bool:
        """Inspect the data set unless it is done or somebody else is at it; ``True`` if the outcome was written."""
        with self._store.write() as connection:
            dataset = datasets.claim_check(connection, dataset_id, self._store.settings.lease_seconds)
        if dataset is None:
            return False
        with structlog.contextvars.bound_contextvars(dataset_id=dataset_id):
            outcome = self._look(dataset)
            written = self._write(dataset, outcome) if outcome is not None else None
            if written is None:
                _log.warning("the look was broken off and will be repeated", attempt=dataset.check_epoch)
                with contextlib.suppress(SQLAlchemyError), self._store.write() as connection:
                    datasets.release_check(connection, dataset.id, dataset.check_epoch)
                return False
            _log.info("data set inspected", usable=outcome is not None and "error" not in outcome, written=written)
            return written

    def _write(self, dataset: Dataset, outcome: dict[str, Any]) -> bool | None:
        """Write the outcome; ``None`` if a file of it was collected meanwhile, because an equal one went elsewhere."""
        thumbnails = outcome.get("thumbnails")
        try:
            with self._store.write() as connection:
                if thumbnails is not None:
                    blob_rows.register(connection, self._store.blobs, thumbnails)
                return datasets.finish_check(connection, dataset.id, dataset.check_epoch, **outcome)
        except BlobMissingError:
            return None

    def _look(self, dataset: Dataset) -> dict[str, Any] | None:
        """The outcome, ready for ``finish_check``; ``None`` if it should be tried again."""
        settings = self._store.settings
        try:
            path = self._store.blobs.verify(dataset.sha256 or "").resolve()
        except BlobError as error:
            return {"error": _error("upload_damaged", f"{error}; upload the data set again")}
        with workdir(settings.data_dir / "work", f"{dataset.id}-{dataset.check_epoch}") as folder:
            limits = child_limits(settings)
            (folder / "inspect.json").write_text(InspectionInput(path=str(path), limits=limits).model_dump_json())
            child = Child(self._command, folder, child_environment(folder, 1))
            try:
                messages, broken_off = self._listen(child, dataset)
            finally:
                child.kill()
                code = child.finish(0)
            for message in messages:
                if isinstance(message, Profiled):
                    return {**_verdict(message.profile), "thumbnails": self._thumbnails(folder)}
                if isinstance(message, Failed):
                    return {"error": _error(message.code, message.message)}
            if broken_off == "time":
                text = f"looking through the data set took longer than {settings.inspect_seconds:g} seconds"
                return {"error": _error("inspection_too_long", text)}
            if broken_off or dataset.check_epoch < settings.max_attempts:
                return None
            _log.error("an inspection crashed", code=code, log=child.log_tail())
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return {"error": _error("inspection_failed", f"looking through the data set ended with {name}")}

    def _listen(self, child: Child, dataset: Dataset) -> tuple[list[Message], str | None]:
        """What the child said until it ended, and why it was broken off, if it was: ``time``, ``lost``, ``drained``."""
        settings = self._store.settings
        started = renewed = time.monotonic()
        messages: list[Message] = []
        while not child.buffer.exhausted:
            messages += child.buffer.take(100, _LOOK_SECONDS)
            instant = time.monotonic()
            if child.ended():
                child.signal(signal.SIGKILL)  # what it left behind may hold the pipe open
            elif self._draining.is_set():
                return [], "drained"
            elif instant - started > settings.inspect_seconds:
                return [], "time"
            elif instant - renewed >= settings.heartbeat_seconds:
                renewed = instant
                if not self._renew(dataset):
                    return [], "lost"
        return messages, None

    def _thumbnails(self, folder: Path) -> Blob | None:
        """Keep the child's contact sheet: a plain file of a contact sheet's size, whatever the child may have left."""
        path = folder / THUMBNAILS
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            return self._store.blobs.put_file(path, limit=_LARGEST_THUMBNAILS)
        except (FileNotFoundError, BlobTooLargeError):
            return None

    def _renew(self, dataset: Dataset) -> bool:
        """Renew the lease of this look. A database that is away decides nothing: the outcome is fenced by its epoch."""
        with contextlib.suppress(SQLAlchemyError), self._store.write() as connection:
            lease_seconds = self._store.settings.lease_seconds
            return datasets.renew_check(connection, dataset.id, dataset.check_epoch, lease_seconds)
        return True


def _verdict(profile: dict[str, Any]) -> dict[str, Any]:
    faults = profile.get("faults", [])
    if not faults:
        return {"profile": profile}
    count = len(faults)
    number = f"{count} fault{'s' if count > 1 else ''}"
    if not profile.get("complete", True):
        number = f"at least {number} (reading stopped there)"
    text = f"the data set has {number} and cannot be trained on"
    return {"error": {**_error("invalid_dataset", text), "faults": faults}, "profile": profile}


def _error(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "faults": []}
