"""What keeps jobs alive when messages or workers are lost. Any number of processes may run it at the same time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from jobs import audit_log, blob_rows, datasets, deliveries, idempotency, lease, metrics, queues, retention
from jobs.errors import LeaseLostError
from jobs.lease import RetryPolicy
from jobs.states import JobState
from jobs.store import Store
from jobs.sweep_driver import SweepDriver

_log = logging.getLogger(__name__)

_RINGS_PER_ROUND = 32
_LONGEST_SILENCE_SECONDS = 60.0
_HOUSEKEEPING_SECONDS = 60.0
_BLOB_GRACE_SECONDS = 3600.0
_INCOMING_GRACE_SECONDS = 60.0
_SWEEP_SECONDS = 3600.0
_SWEEP_BATCH = 500
_FOLD_SECONDS = 5.0


class Doorbell(Protocol):
    """How workers are told that there is something to do. May fail or get lost: it is rung again."""

    def ring_job(self, job_id: str, queue: str) -> None:
        """Say that a job waits in this queue."""

    def ring_dataset(self, dataset_id: str) -> None:
        """Say that a data set waits for a look."""


@dataclass
class Round:
    """What one round did: job and data set ids."""

    rung: list[str] = field(default_factory=list)
    requeued: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


class Reaper:
    """Takes back jobs whose lease ran out, and rings again for what nobody took on."""

    def __init__(self, store: Store, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell
        self._policy = RetryPolicy.of(store.settings)
        self._sweeps = SweepDriver(store, doorbell)
        self._bells: dict[str, tuple[float, float]] = {}  # id: next time to ring, silence after that
        self._next_housekeeping = 0.0
        self._next_sweep = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set. A database or broker that is away for a while is no reason to end."""
        while not stop.is_set():
            try:
                self.run_once()
            except Exception:  # noqa: BLE001 - the reaper must outlive every outage; the next round tries again
                _log.warning("a round of the reaper failed; it will be repeated", exc_info=True)
            stop.wait(self._store.settings.reaper_seconds)

    def run_once(self) -> Round:
        """One round."""
        done = Round()
        self._take_back(done)
        self._ring(done)
        if time.monotonic() >= self._next_housekeeping:
            self._next_housekeeping = time.monotonic() + _HOUSEKEEPING_SECONDS
            self._keep_house()
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
            self._sweep_files()
        self._sweeps.run_once()
        self._fold(ended=False)
        return done

    def _take_back(self, done: Round) -> None:
        with self._store.read() as connection:
            found = lease.expired(connection)
        for job_id, epoch in found:
            error = {
                "code": "worker_lost",
                "message": "the worker of this job stopped answering; it may have crashed or lost its connection",
                "param": None,
            }
            try:
                with self._store.write() as connection:
                    job = lease.attempt_failed(connection, job_id, epoch, error, self._policy, where=lease.lapsed())
            except LeaseLostError:  # another reaper was faster, or the worker came back and ended the job
                continue
            if job is None:  # the worker renewed its lease after all
                continue
            _log.warning("took back job %s, now %s: its lease with epoch %d ran out", job_id, job.state, epoch)
            if job.state is JobState.QUEUED:
                self._bells[job_id] = (time.monotonic(), self._store.settings.reaper_seconds)  # ring at once
                done.requeued.append(job_id)
            else:
                done.ended.append(job_id)

    def _ring(self, done: Round) -> None:
        with self._store.read() as connection:
            waiting = queues.waiting(connection, _RINGS_PER_ROUND)
            unchecked = datasets.unchecked(connection, _RINGS_PER_ROUND)
        present = {job_id for job_id, _ in waiting} | set(unchecked)
        self._bells = {key: bell for key, bell in self._bells.items() if key in present}
        for job_id, queue in waiting:
            if self._due(job_id):
                self._doorbell.ring_job(job_id, queue)
                done.rung.append(job_id)
        for dataset_id in unchecked:
            if self._due(dataset_id):
                self._doorbell.ring_dataset(dataset_id)
                done.rung.append(dataset_id)

    def _due(self, key: str) -> bool:
        """Whether to ring for this one now. Silence doubles, so that no flood builds up while no worker is there."""
        instant = time.monotonic()
        # A fresh job was rung by whoever made it; it is rung again only when it still waits a round later.
        pause = self._store.settings.reaper_seconds
        at, silence = self._bells.setdefault(key, (instant + pause, pause))
        if instant < at:
            return False
        self._bells[key] = (instant + silence, min(silence * 2, _LONGEST_SILENCE_SECONDS))
        return True

    def _keep_house(self) -> None:
        settings = self._store.settings
        with self._store.write() as connection:
            idempotency.purge(connection, older_than_seconds=settings.idempotency_hours * 3600)
            deliveries.purge(connection, older_than_seconds=settings.webhook_log_days * 86400)
        if settings.log_retention_days is not None:
            with self._store.write() as connection:
                cut = retention.cut_logs(connection, older_than_seconds=settings.log_retention_days * 86400)
            if cut:
                _log.info("cut the logs of %d jobs that ended long ago", cut)
        if settings.audit_retention_days is not None:
            with self._store.write() as connection:
                audit_log.purge(connection, older_than_seconds=settings.audit_retention_days * 86400)
        with self._store.read() as connection:
            leftovers = blob_rows.unreferenced(connection, older_than_seconds=_BLOB_GRACE_SECONDS)
        if leftovers:
            _log.info("removed %d stored files that nothing refers to", self._store.collect(leftovers))
        if half := self._store.blobs.sweep_incoming(older_than_seconds=_INCOMING_GRACE_SECONDS):
            _log.info("removed %d files that a crash left unfinished", half)
        self._fold(ended=True)

    def _fold(self, *, ended: bool) -> None:
        """Fold logs into columns: of running jobs those that have grown, or of jobs that have ended what is left."""
        with self._store.read() as connection:
            found = metrics.unfolded(connection, ended=ended)
        if not found:
            return
        from jobs import curves  # noqa: PLC0415 - imports NumPy, which the API process does without until then

        deadline = time.monotonic() + _FOLD_SECONDS
        for job_id in found:
            while time.monotonic() < deadline and curves.fold(self._store, job_id):
                pass

    def _sweep_files(self) -> None:
        """Remove the files that a crash left without a row. Storing the same bytes again makes a file fresh."""
        store = self._store.blobs
        removed = 0
        for digests in batched(store.stored(older_than_seconds=_BLOB_GRACE_SECONDS), _SWEEP_BATCH):
            with self._store.write() as connection:
                removed += blob_rows.remove_unregistered(
                    connection, store, digests, older_than_seconds=_BLOB_GRACE_SECONDS
                )
        if removed:
            _log.info("removed %d files that a crash left behind", removed)


def batched(items: Iterable[str], size: int) -> Iterator[list[str]]:
    """Lists of up to ``size`` items (Python 3.12 has it in itertools)."""
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
