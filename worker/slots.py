"""The slots of a worker: how many jobs run at the same time, and who looks for the next one."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs import lease, queues
from jobs.records import Job
from jobs.store import Store
from worker.capacity import has_room, threads_per_slot
from worker.standby import Nursery
from worker.supervisor import TRAINING_COMMAND, Supervisor

_log = structlog.stdlib.get_logger(__name__)


class Slots:
    """Runs queued jobs, as many at a time as there are slots.

    A doorbell says only that there is something to do: :meth:`work` takes a free slot and runs queued jobs, one after
    the other, until there is none. A doorbell that finds every slot busy is remembered, and the next free slot looks
    again.
    """

    def __init__(self, store: Store, draining: threading.Event, command: Sequence[str] = TRAINING_COMMAND) -> None:
        self._store = store
        self._draining = draining
        self._command = command
        self._threads = threads_per_slot(store.settings)
        self._nursery = Nursery(store.settings, self._threads, command)
        self._lock = threading.Lock()
        self._free = list(range(store.settings.slots))
        self._rung = False
        self._room = True
        self._extra: list[threading.Thread] = []

    def work(self) -> int:
        """Run queued jobs in a free slot until there is none; return how many. Returns at once if no slot is free."""
        count = 0
        while (slot := self._take()) is not None:
            try:
                while (job := self._claim(slot)) is not None:
                    Supervisor(self._store, self._threads, self._draining, self._command, self._nursery).run(job)
                    count += 1
            finally:
                again = self._give_back(slot)
            if not again:
                break
        return count

    def poll(self) -> None:
        """Look at the queue without being rung, until draining; jobs that are found run in threads of their own."""
        if self._command == TRAINING_COMMAND:  # another one need not know how to wait
            self._nursery.start()
        while not self._draining.is_set():
            try:
                if self._free and self._waiting():
                    thread = threading.Thread(target=self.work, name="slot")
                    self._extra = [thread, *(other for other in self._extra if other.is_alive())]
                    thread.start()
            except SQLAlchemyError as error:
                _log.warning("the database did not answer", error=str(error))
            self._draining.wait(self._store.settings.poll_seconds)

    def join(self) -> None:
        """Wait for the jobs that :meth:`poll` started; end the children that wait for one."""
        for thread in self._extra:
            thread.join()
        self._nursery.close()

    def _take(self) -> int | None:
        with self._lock:
            if self._draining.is_set():
                return None
            if not self._free:
                self._rung = True
                return None
            self._rung = False
            self._nursery.slot_taken()
            return self._free.pop(0)

    def _give_back(self, slot: int) -> bool:
        """Free the slot; ``True`` if a doorbell rang while all were busy, perhaps after this one's last look."""
        with self._lock:
            self._free.append(slot)
            self._nursery.slot_freed()
            return self._rung

    def _claim(self, slot: int) -> Job | None:
        if self._draining.is_set() or not self._has_room():
            return None
        settings = self._store.settings
        owner = f"{socket.gethostname()}:{os.getpid()}:{slot}"
        with self._store.write() as connection:
            return lease.claim(
                connection,
                settings.queue_names,
                owner,
                settings.lease_seconds,
                record={"threads": self._threads},
                max_running=settings.max_running_jobs,
            )

    def _has_room(self) -> bool:
        """Whether stored files can be reached, and the disk has room for a job; told when that changes.

        On a full disk every job would fail within seconds, until the whole queue had failed.
        """
        if not self._store.blobs.answers():
            return False
        room = has_room(self._store.settings)
        if room != self._room:
            self._room = room
            least = self._store.settings.min_free_bytes
            _log.warning("the disk has room again" if room else "no job is taken: the disk is full", needed_bytes=least)
        return room

    def _waiting(self) -> bool:
        with self._store.read() as connection:
            return bool(queues.waiting(connection, 1, self._store.settings.queue_names))
