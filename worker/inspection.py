"""Fetches a data set if it has to be fetched, looks through it in a child with limits, and writes what was found."""

from __future__ import annotations

import contextlib
import signal
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fqt_core.events import Failed
from jobs import blob_rows, datasets, imports
from jobs.blobs import Blob
from jobs.errors import BlobError, BlobMissingError, BlobTooLargeError, NotFoundError, StorageAwayError
from jobs.records import Dataset
from jobs.store import Store
from worker.capacity import child_limits
from worker.errand import Ended, Errand
from worker.process import child_command
from worker.protocol import DOWNLOAD, LISTING, THUMBNAILS, Fetched, FetchInput, InspectionInput, Profiled
from worker.workdir import workdir

_log = structlog.stdlib.get_logger(__name__)

INSPECTION_COMMAND: Sequence[str] = child_command("worker.inspect_child")
FETCH_COMMAND: Sequence[str] = child_command("worker.fetch_child")
_LARGEST_THUMBNAILS = 16 * 2**20
_LARGEST_LISTING = 256 * 2**20


class _BrokenOffError(Exception):
    """The look led to nothing this time, and is to be repeated."""


class _RefusedError(Exception):
    """The data set cannot be had or used; ``outcome`` is ready for ``finish_check``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.outcome = {"error": _error(code, message)}


class Inspector:
    """Inspects data sets. ``draining`` set: leave the look to another worker."""

    def __init__(
        self,
        store: Store,
        draining: threading.Event,
        command: Sequence[str] = INSPECTION_COMMAND,
        fetch_command: Sequence[str] = FETCH_COMMAND,
    ) -> None:
        self._store = store
        self._draining = draining
        self._command = command
        self._fetch_command = fetch_command
        # One at a time: however slow a server is, looks at data sets that are here already go on.
        self._downloads = threading.Lock()

    def run(self, dataset_id: str) -> bool:
        """Inspect the data set unless it is done or somebody else is at it; ``True`` if the outcome was written."""
        with contextlib.ExitStack() as stack:
            if self._is_to_be_fetched(dataset_id):
                if not self._downloads.acquire(blocking=False):
                    return False  # the reaper rings again
                stack.callback(self._downloads.release)
            with self._store.write() as connection:
                dataset = datasets.claim_check(connection, dataset_id, self._store.settings.lease_seconds)
            if dataset is None:
                return False
            stack.enter_context(structlog.contextvars.bound_contextvars(dataset_id=dataset_id))
            return self._run(dataset)

    def _is_to_be_fetched(self, dataset_id: str) -> bool:
        try:
            with self._store.read() as connection:
                dataset = datasets.get(connection, dataset_id)
        except NotFoundError:
            return False
        return dataset.sha256 is None and (dataset.source or {}).get("kind") == "url"

    def _run(self, dataset: Dataset) -> bool:
        try:
            with workdir(self._store.settings.data_dir / "work", f"{dataset.id}-{dataset.check_epoch}") as folder:
                try:
                    dataset = self._with_bytes(dataset, folder)
                    outcome = {} if dataset.state == "ready" else self._look(dataset, folder)
                except _RefusedError as error:
                    outcome = error.outcome
            written = dataset.state == "ready" or self._write(dataset, outcome)
        except (_BrokenOffError, BlobMissingError, StorageAwayError):  # missing: an equal file was removed elsewhere
            _log.warning("the look was broken off and will be repeated", attempt=dataset.check_epoch)
            with contextlib.suppress(SQLAlchemyError), self._store.write() as connection:
                datasets.release_check(connection, dataset.id, dataset.check_epoch)
            return False
        _log.info("data set inspected", usable="error" not in outcome, written=written)
        return written

    def _with_bytes(self, dataset: Dataset, folder: Path) -> Dataset:
        """Download the data set if it has no bytes yet."""
        if dataset.sha256 is not None or dataset.source is None or dataset.source["kind"] != "url":
            return dataset
        settings = self._store.settings
        if settings.dataset_urls == "off":
            raise _RefusedError("download_failed", "this worker downloads nothing (FQT_DATASET_URLS)")
        order = FetchInput(
            url=str(dataset.source["url"]),
            private=settings.dataset_urls == "private",
            ports=sorted(settings.url_ports),
            sha256=dataset.source.get("sha256"),
            max_bytes=settings.max_upload_bytes,
            limits=child_limits(settings),
        )
        (folder / "fetch.json").write_text(order.model_dump_json())
        ended = self._errand(dataset).run(self._fetch_command, folder, settings.dataset_url_seconds)
        if ended.broken_off == "time":
            text = f"the download took longer than {settings.dataset_url_seconds:g} seconds"
            raise _RefusedError("download_failed", text)
        if not any(isinstance(message, Fetched) for message in ended.messages):
            raise self._failed(dataset, ended, "the download")
        blob = self._keep(folder / DOWNLOAD, settings.max_upload_bytes)
        if blob is None:
            raise _RefusedError("download_failed", "the download left no file")
        with self._store.write() as connection:
            found = imports.fetched(connection, self._store.blobs, dataset, blob)
        if found is None:
            raise _BrokenOffError
        return found

    def _look(self, dataset: Dataset, folder: Path) -> dict[str, Any]:
        """The outcome, ready for ``finish_check``."""
        settings = self._store.settings
        mounted = (dataset.source or {}).get("kind") == "folder"
        path = self._folder(dataset) if mounted else self._file(dataset)
        order = InspectionInput(path=str(path), mounted=mounted, limits=child_limits(settings))
        (folder / "inspect.json").write_text(order.model_dump_json())
        ended = self._errand(dataset).run(self._command, folder, settings.inspect_seconds)
        for message in ended.messages:
            if isinstance(message, Profiled):
                outcome = _verdict(message.profile)
                outcome["thumbnails"] = self._keep(folder / THUMBNAILS, _LARGEST_THUMBNAILS)
                if mounted:
                    outcome |= {"listing": self._keep(folder / LISTING, _LARGEST_LISTING), "size": message.size}
                return outcome
        if ended.broken_off == "time":
            text = f"looking through the data set took longer than {settings.inspect_seconds:g} seconds"
            raise _RefusedError("inspection_too_long", text)
        raise self._failed(dataset, ended, "looking through the data set")

    def _file(self, dataset: Dataset) -> Path:
        try:
            return self._store.blobs.verify(dataset.sha256 or "").resolve()
        except BlobError as error:
            raise _RefusedError("upload_damaged", f"{error}; upload the data set again") from error

    def _folder(self, dataset: Dataset) -> Path:
        name = str((dataset.source or {}).get("folder"))
        path = self._store.settings.folders.get(name)
        if path is None or not path.is_dir():
            raise _RefusedError("folder_missing", f"this worker has no folder {name!r} (FQT_DATASET_FOLDERS)")
        return path

    def _errand(self, dataset: Dataset) -> Errand:
        return Errand(self._store, self._draining, dataset)

    def _failed(self, dataset: Dataset, ended: Ended, what: str) -> Exception:
        """What a child means that did not bring what it was sent for."""
        for message in ended.messages:
            if isinstance(message, Failed):
                return _RefusedError(message.code, message.message)
        if ended.broken_off or dataset.check_epoch < self._store.settings.max_attempts:
            return _BrokenOffError()
        _log.error("an inspection crashed", code=ended.code, log=ended.log)
        name = signal.Signals(-ended.code).name if ended.code < 0 else f"exit code {ended.code}"
        return _RefusedError("inspection_failed", f"{what} ended with {name}")

    def _keep(self, path: Path, limit: int) -> Blob | None:
        """Store what a child left: a plain file of no more than so many bytes, or nothing, whatever is there."""
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                return None
            return self._store.blobs.put_file(path, limit=limit)
        except (FileNotFoundError, BlobTooLargeError):
            return None

    def _write(self, dataset: Dataset, outcome: dict[str, Any]) -> bool:
        """Write the outcome; ``False`` if the look is not ours any more.

        Raises:
            BlobMissingError: a file of it was collected meanwhile, because an equal one went elsewhere.
        """
        with self._store.write() as connection:
            for blob in (outcome.get("thumbnails"), outcome.get("listing")):
                if blob is not None:
                    blob_rows.register(connection, self._store.blobs, blob)
            return datasets.finish_check(connection, dataset.id, dataset.check_epoch, **outcome)


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
