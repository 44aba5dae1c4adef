"""Turns what a child says into what is kept: log rows, progress, checkpoints and result files."""

from __future__ import annotations

import logging
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from fqt_core.events import (
    ArtifactWritten,
    BitsChosen,
    CheckpointWritten,
    Done,
    EpochDone,
    Failed,
    FullPrecisionDone,
    GradientsExchanged,
    GradientTelemetry,
    LogLine,
    QuantizationStatistics,
    Started,
    StepDone,
    Stopped,
    StructureFound,
    WarningRaised,
    WidthsSearched,
)
from jobs import artifacts, checkpoints, events
from jobs.blobs import Blob
from jobs.errors import BlobMissingError
from jobs.events import NewEvent
from jobs.records import Job
from jobs.store import Store
from worker.journal import Journal
from worker.protocol import Confined, Message

_log = structlog.stdlib.get_logger(__name__)

_STORE_TRIES = 3
_LEVELS = {"debug": logging.DEBUG, "warning": logging.WARNING, "error": logging.ERROR}


class ForeignFileError(Exception):
    """A child named a file that is not in its folder."""


class ReplacedFileError(Exception):
    """A file of the child is not there any more as it was reported."""


class Recorder:
    """Keeps what one attempt reports, in order. ``done``, ``stopped``, ``failed``: the child's last words, if any."""

    def __init__(self, store: Store, job: Job, journal: Journal, folder: Path) -> None:
        self._store = store
        self._job = job
        self._journal = journal
        self._folder = folder.resolve()
        self._record: dict[str, Any] = dict(job.record or {})
        self._written_record = dict(self._record)
        self._progress: dict[str, Any] = dict(job.progress or {})
        self._rate: tuple[int, float] | None = None  # first step of this attempt and when it was reported
        self._pending: list[NewEvent] = []
        self._started: Started | None = None
        self._files: dict[str, dict[str, Any]] = {}
        self._best: tuple[int, float | None] | None = None  # step and accuracy of the best epoch of this attempt
        self.done: Done | None = None
        self.stopped: Stopped | None = None
        self.failed: Failed | None = None

    def take(self, messages: Sequence[Message], dropped: int = 0) -> None:
        """Keep a batch of messages, with as few transactions as their order allows.

        Raises:
            LeaseLostError: the attempt does not hold the job any more.
            ForeignFileError: the child named a file that it may not.
        """
        for message in messages:
            self._take(message)
        if dropped:
            text = f"{dropped} reports of single steps were left out: the database could not keep up"
            self._pending.append(("warning", {"code": "reports_dropped", "message": text, "count": dropped}))
        self._flush()

    def result(self) -> dict[str, Any]:
        """What the job reached, for its row. Only after ``done``."""
        assert self.done is not None
        result = self.done.model_dump(exclude={"type"})
        if self._started is not None:
            figures = ("total_steps", "train_images", "validation_images", "parameters", "binary_parameters")
            result |= self._started.model_dump(include=set(figures))
            result["classes"] = self._started.classes
        return result | {"artifacts": self._files}

    def _take(self, message: Message) -> None:
        match message:
            case (
                StepDone()
                | EpochDone()
                | FullPrecisionDone()
                | QuantizationStatistics()
                | GradientTelemetry()
                | WidthsSearched()
            ):
                self._advance(message)
                self._pending.append(("metric", {"kind": message.type, **message.model_dump(exclude={"type"})}))
            case LogLine():
                _tell(message.level, message.message)
                self._pending.append(("log", message.model_dump(exclude={"type"})))
            case WarningRaised():
                _tell("warning", message.message)
                self._pending.append(("warning", message.model_dump(exclude={"type"})))
            case Started():
                self._start(message)
            case BitsChosen() | StructureFound() | GradientsExchanged():
                self._record[message.type] = data = message.model_dump(exclude={"type"})
                self._pending.append(("log", {"level": "info", "message": message.summary, message.type: data}))
            case Confined():
                self._record["limits"] = message.limits
                text = "limits of the training process: " + ", ".join(f"{k} {v}" for k, v in message.limits.items())
                self._pending.append(("log", {"level": "debug", "message": text}))
            case CheckpointWritten():
                self._flush()
                self._keep_checkpoint(message)
            case ArtifactWritten():
                self._flush()
                self._keep_artifact(message)
            case Done():
                self.done = message
            case Stopped():
                self.stopped = message
            case Failed():
                self.failed = message
            case _:
                _log.warning("a training child sent a message that is not for it", type=message.type)

    def _start(self, started: Started) -> None:
        self._started = started
        self._record |= started.model_dump(include={"arithmetic", "isa", "threads", "device", "report"})
        self._progress |= {"step": started.step, "total_steps": started.total_steps, "epochs": started.epochs}
        self._progress.setdefault("epoch", started.step / max(1, started.steps_per_epoch))
        what = f"training {started.train_images} images of {len(started.classes)} classes for {started.epochs} epochs"
        if self._job.spec.task == "tabular":
            what = f"growing trees from {started.train_images} rows"
        text = (
            f"{what}, {started.total_steps} steps, from step {started.step} (arithmetic {started.arithmetic}, kernels "
            f"{started.isa}, {started.threads} threads, {started.device})"
        )
        data = started.model_dump(exclude={"type", "report"})
        self._pending.append(("log", {"level": "info", "message": text, "started": data}))

    def _advance(self, report: Message) -> None:
        if not isinstance(report, StepDone | EpochDone):
            return
        self._progress |= {"step": report.step, "epoch": report.epoch, "images_per_second": report.images_per_second}
        if isinstance(report, EpochDone):
            self._progress["validation_accuracy"] = report.validation_accuracy
            if report.best:
                self._best = (report.step, report.validation_accuracy)
            return
        self._progress["loss"] = report.loss
        instant = time.monotonic()
        if self._rate is None:
            self._rate = (report.step, instant)
        steps, seconds = report.step - self._rate[0], instant - self._rate[1]
        if steps > 0 and "total_steps" in self._progress:
            remaining = self._progress["total_steps"] - report.step
            self._progress["eta_seconds"] = round(seconds / steps * remaining, 1)

    def _flush(self) -> None:
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values: dict[str, Any] = {"progress": self._progress or None}
        if self._record != self._written_record:  # it is large, and changes a few times
            values["record"] = self._written_record = dict(self._record)
        self._journal.write(
            lambda connection: events.append(connection, self._job.id, self._job.lease_epoch, pending, values=values)
        )

    def _keep_checkpoint(self, message: CheckpointWritten) -> None:
        policy = self._job.spec.checkpoints
        details: dict[str, Any] = {"training_epoch": message.epoch}
        if self._best is not None and self._best[0] == message.step:
            details |= {"best": True, "validation_accuracy": self._best[1]}

        def add(connection: Connection, blob: Blob) -> list[str]:
            return checkpoints.add(
                connection,
                self._store.blobs,
                self._job.id,
                self._job.lease_epoch,
                blob,
                step=message.step,
                keep=policy.keep_last or self._store.settings.checkpoints_kept,
                keep_best=policy.keep_best,
                details=details,
            )

        try:
            path, _ = self._keep_file(message, add)
        except ReplacedFileError as error:
            # The child goes on while the database does not answer, and keeps the newest few files only; asked to stop,
            # it may write a step's file once more. Either way a later message names the file that counts.
            self._pending.append(("log", {"level": "warning", "message": f"checkpoint left out: {error}"}))
            return
        path.unlink(missing_ok=True)  # it is in the store now; a long job must not fill its folder

    def _keep_artifact(self, message: ArtifactWritten) -> None:
        name = Path(message.path).name

        def add(connection: Connection, blob: Blob) -> list[str]:
            return artifacts.add(
                connection,
                self._store.blobs,
                self._job.id,
                self._job.lease_epoch,
                blob,
                name=name,
                kind=message.kind,
                details=message.details,
            )

        _, blob = self._keep_file(message, add)
        self._files[name] = {"kind": message.kind, "sha256": blob.sha256, "size": blob.size}

    def _keep_file(
        self, message: CheckpointWritten | ArtifactWritten, add: Callable[[Connection, Blob], list[str]]
    ) -> tuple[Path, Blob]:
        """Store a file of the child, then its row; drop what the row replaces.

        Raises:
            ForeignFileError: it is not in the child's folder, or is no plain file.
            ReplacedFileError: it is gone, or has other bytes than was reported.
        """
        path = (self._folder / message.path).resolve()
        # One look: the child may remove an older checkpoint at any moment, which makes it no foreign file.
        if not path.is_relative_to(self._folder) or _is_no_plain_file(path):
            raise ForeignFileError(f"the training process named {message.path!r}, which is no file of its folder")
        for attempt in range(_STORE_TRIES):
            try:
                blob = self._store.blobs.put_file(path)
            except FileNotFoundError:
                raise ReplacedFileError(f"{path.name} was removed before it could be stored") from None
            if blob.sha256 != message.sha256:
                raise ReplacedFileError(f"{path.name} has SHA-256 {blob.sha256}, but {message.sha256} was reported")
            try:
                replaced = self._journal.write(lambda connection, blob=blob: add(connection, blob))  # type: ignore[misc]
            except BlobMissingError:  # collected between the two steps, because an equal file went elsewhere
                if attempt == _STORE_TRIES - 1:
                    raise
                continue
            self._collect(replaced or [])
            break
        return path, blob

    def _collect(self, digests: list[str]) -> None:
        if digests:
            try:
                self._store.collect(digests)
            except SQLAlchemyError as error:  # the reaper finds them later
                _log.warning("files that are not needed any more could not be removed yet", error=str(error))


def _is_no_plain_file(path: Path) -> bool:
    """Whether something else is there; nothing at all is not."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _tell(level: str, message: str) -> None:
    """Put what the child says into the log of the worker too, where it has the ids of job and request."""
    _log.log(_LEVELS.get(level, logging.INFO), "child: " + message)
