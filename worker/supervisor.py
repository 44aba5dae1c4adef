"""Runs one claimed job: from claim to a state without a lease, whatever the child does in between.

The supervisor waits on a pipe and a clock. Its heart (:class:`worker.pulse.Pulse`) beats in a thread of its own from
before the set-up; the child's reports are read by another (:class:`worker.process.Child`).
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import structlog
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from fqt_core.config.method_base import Task
from fqt_core.events import Failed
from jobs import events, lease, models
from jobs.completion import complete
from jobs.errors import BlobError, LeaseLostError, StorageAwayError
from jobs.ids import new_id
from jobs.lease import RetryPolicy
from jobs.records import Job
from jobs.states import JobState
from jobs.store import Store
from worker import tracing
from worker.child_errors import out_of_memory, tells_out_of_memory
from worker.inputs import InputError, training_input, write_input
from worker.journal import Journal
from worker.overseer import Overseer, Request
from worker.process import Child, child_command, child_environment
from worker.protocol import Exit, Word
from worker.pulse import Pulse
from worker.recorder import ForeignFileError, Recorder, ReplacedFileError
from worker.standby import Nursery
from worker.workdir import workdir

_log = structlog.stdlib.get_logger(__name__)

TRAINING_COMMAND: Sequence[str] = child_command("worker.child")
_BATCH = 500

Ending: TypeAlias = Callable[[Connection], object]


class Supervisor:
    """Runs jobs, one at a time, for one slot of a worker. ``draining`` set: stop at a checkpoint, give the job back."""

    def __init__(
        self,
        store: Store,
        threads: int,
        draining: threading.Event,
        command: Sequence[str] = TRAINING_COMMAND,
        nursery: Nursery | None = None,
    ) -> None:
        """``nursery``: where there may be children that wait for a job."""
        self._store = store
        self._threads = threads
        self._draining = draining
        self._command = command
        self._nursery = nursery

    def run(self, job: Job) -> None:
        """Run a job that was just claimed. Ends when the job is given back, or is another's."""
        ids = {"job_id": job.id, "epoch": job.lease_epoch, "request_id": job.request_id}
        with (
            tracing.attempt(job) as span,
            structlog.contextvars.bound_contextvars(**ids, **tracing.trace_id(span)),
            Pulse(self._store, job) as pulse,
        ):
            _log.info("job claimed", state=job.state, threads=self._threads)
            try:
                self._attempt(job, pulse)
            except LeaseLostError as error:
                _log.error("attempt given up", reason=str(error))
                if pulse.database_away:
                    self._hand_back(job)
            except SQLAlchemyError as error:
                _log.error("attempt given up: the database does not answer", error=str(error))
                self._hand_back(job)
            except StorageAwayError as error:
                _log.error("attempt given up: the object store does not answer", error=str(error))
                self._hand_back(job, reason="storage_away")

    def _attempt(self, job: Job, pulse: Pulse) -> None:
        journal = Journal(self._store, job, pulse.lost, pulse.saw)
        try:
            with self._place(job) as (folder, waiting):
                ending = self._train(job, pulse, journal, folder, waiting)
        except InputError as error:
            ending = _failure(job, _error(error.code, str(error), error.param))
        except StorageAwayError:
            raise
        except (OSError, BlobError) as error:
            # A full disk, no more processes: not the job's fault, and perhaps gone at the next attempt.
            _log.exception("an attempt broke down outside of its child")
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            broken = _error("worker_failed", f"the worker could not run the job: {error}")
            ending = self._retry(job, disk_full() if full else broken)
        pulse.ending = True
        journal.write(ending)
        self._tell_trace(job)
        _log.info("job given back")

    def _tell_trace(self, job: Job) -> None:
        """Write how the attempt ended into its span, if anybody records it."""
        span = trace.get_current_span()
        if not span.is_recording():
            return
        with self._store.read() as connection:
            event = events.last_state(connection, job.id, job.lease_epoch)
        span.set_attributes({"fqt.job.state": event.get("to") or "", "fqt.job.reason": event.get("reason") or ""})
        if event.get("to") == JobState.FAILED.value or event.get("error"):
            span.set_status(StatusCode.ERROR, event.get("reason"))

    @contextmanager
    def _place(self, job: Job) -> Iterator[tuple[Path, Child | None]]:
        """The folder of the attempt, and the child that waits in it, if there is one."""
        standby = None if self._nursery is None else self._nursery.take(job)
        if standby is not None:
            with standby:
                yield standby.folder, standby.child
            return
        with workdir(self._store.settings.data_dir / "work", f"{job.id}-{job.lease_epoch}") as folder:
            yield folder, None

    def _train(self, job: Job, pulse: Pulse, journal: Journal, folder: Path, waiting: Child | None) -> Ending:
        overseer = Overseer(job, self._store.settings, self._draining, folder)
        if (late := overseer.out_of_time()) is not None:  # used up by attempts that broke down
            return _failure(job, _error(str(late.code), late.message, late.param))
        write_input(training_input(self._store, job, journal, self._threads), folder)
        child = waiting or Child(self._command, folder, child_environment(folder, self._threads))
        pulse.on_lost(child.kill)
        if waiting is not None:
            child.say(Word.START)
        recorder = Recorder(self._store, job, journal, folder)
        try:
            request = self._watch(child, pulse, recorder, overseer)
            code = child.finish(self._store.settings.kill_grace_seconds)
        except (ForeignFileError, ReplacedFileError) as error:
            return _failure(job, _error("internal_error", str(error)))
        finally:
            child.kill()
            child.finish(0)
        if pulse.lost.is_set():
            raise LeaseLostError(job.id, job.lease_epoch)
        for line in child.log_tail():
            _log.debug("child printed", line=line)
        _log.info("child ended", code=code, asked=request and request.reason)
        return self._ending(job, recorder, code, request, child.log_tail())

    def _watch(self, child: Child, pulse: Pulse, recorder: Recorder, overseer: Overseer) -> Request | None:
        """Keep what the child says until it has ended; ask it to end where that is wanted. Returns the request."""
        settings = self._store.settings
        request: Request | None = None
        deadlines: list[tuple[float, signal.Signals]] = []
        while not child.buffer.exhausted:
            messages = child.buffer.take(_BATCH, settings.flush_seconds)
            recorder.take(messages, child.buffer.take_dropped())
            if pulse.lost.is_set():
                raise LeaseLostError(pulse.job.id, pulse.job.lease_epoch)
            if child.ended():
                child.signal(signal.SIGKILL)  # what it left behind may hold the pipe open
            wanted = overseer.wanted(pulse.state)
            if wanted is not None and (request is None or (wanted.word, request.word) == (Word.CANCEL, Word.STOP)):
                _log.info("asking the child to end", reason=wanted.reason)
                request = wanted
                child.say(wanted.word)
                asked = time.monotonic() + settings.stop_grace_seconds
                deadlines = [(asked, signal.SIGTERM), (asked + settings.kill_grace_seconds, signal.SIGKILL)]
            while deadlines and time.monotonic() >= deadlines[0][0]:
                _, number = deadlines.pop(0)
                _log.warning("the child did not end in time", signal=number.name)
                child.signal(number)
        return request

    def _ending(self, job: Job, recorder: Recorder, code: int, request: Request | None, log: list[str]) -> Ending:
        """What the end of a child means for its job."""
        epoch = job.lease_epoch
        if recorder.done is not None and code == Exit.DONE:
            result, model_id, blobs = recorder.result(), new_id(models.PREFIX), self._store.blobs
            return lambda connection: complete(connection, blobs, job, result, model_id=model_id)
        failed = recorder.failed if code == Exit.FAILED else _aborted_without_memory(code, log, job.spec.task)
        if failed is not None:
            return _failure(job, _error(failed.code, failed.message, failed.param, log))
        if request is not None and request.code is not None:
            return _failure(job, _error(request.code, request.message, request.param, log))
        if request is not None:
            return lambda connection: lease.release(connection, job.id, epoch, reason=request.reason)
        return self._retry(job, _crash(code, log))

    def _retry(self, job: Job, error: dict[str, Any]) -> Ending:
        policy = RetryPolicy.of(self._store.settings)
        return lambda connection: lease.attempt_failed(connection, job.id, job.lease_epoch, error, policy)

    def _hand_back(self, job: Job, reason: str = "database_away") -> None:
        """Database or files were away, and the child is gone: if nobody took the job, it was not its fault."""
        deadline = time.monotonic() + self._store.settings.lease_seconds
        while time.monotonic() < deadline:
            try:
                with self._store.write() as connection:
                    lease.release(connection, job.id, job.lease_epoch, reason=reason)
            except LeaseLostError:
                return
            except SQLAlchemyError:
                time.sleep(self._store.settings.watch_seconds)
            else:
                return


def _failure(job: Job, error: dict[str, Any]) -> Ending:
    return lambda connection: lease.fail(connection, job.id, job.lease_epoch, error)


def _aborted_without_memory(code: int, log: list[str], task: Task) -> Failed | None:
    """C++ that finds no memory where nothing can catch it ends the process: its last words say why."""
    words = [line.strip() for line in log if tells_out_of_memory(line)]
    return out_of_memory(words[-1], task) if code == -signal.SIGABRT and words else None


def _crash(code: int, log: list[str]) -> dict[str, Any]:
    if any(os.strerror(errno.ENOSPC) in line for line in log):
        return disk_full(log)
    if code >= 0:
        return _error("child_crashed", f"the training process ended with exit code {code} and no result", None, log)
    name = signal.Signals(-code).name
    hint = "; this is how the kernel ends a process when memory runs out" if name == "SIGKILL" else ""
    return _error("child_killed", f"the training process was ended by {name}{hint}", None, log)


def disk_full(log: Sequence[str] = ()) -> dict[str, Any]:
    """The error of an attempt that found no room on the worker's disk. It is tried again: room may be made."""
    message = "the worker's disk is full; make room where FQT_DATA_DIR and FQT_BLOB_DIR are, and submit the job again"
    return _error("disk_full", message, None, log)


def _error(code: str, message: str, param: str | None = None, log: Sequence[str] = ()) -> dict[str, Any]:
    return {"code": code, "message": message, "param": param, "log": list(log)}
