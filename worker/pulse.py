"""The heartbeat of one attempt: renews its lease and watches for requests, from before set-up until the very end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from jobs import lease
from jobs.errors import LeaseLostError
from jobs.records import Job
from jobs.states import ACTIVE, JobState
from jobs.store import Store

_log = structlog.stdlib.get_logger(__name__)


class Pulse:
    """Beats for one claimed job. ``lost`` is set, for good, when the attempt must not go on.

    That is when the database says that the lease is another's, or when it has not said for as long as a lease lasts
    that it is ours (``database_away``): by then another worker may have the job. A thread of its own sees to that,
    since the one that beats may hang in a connection that is dead. What :meth:`on_lost` was given is called at once.
    ``ending`` is set by the supervisor when it is about to give the lease back itself.
    """

    def __init__(self, store: Store, job: Job) -> None:
        self._store = store
        self.job = job
        self.database_away = False
        self.ending = False
        self._state = job.state
        self._renewed = self._seen = _clock()
        self._on_lost: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.lost = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"{name}-{job.id}", daemon=True)
            for name, target in (("pulse", self._beat), ("guard", self._guard))
        ]

    def __enter__(self) -> Pulse:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    @property
    def state(self) -> JobState:
        """The job's state as last seen: whether it was asked to stop."""
        return self._state

    def saw(self, state: JobState) -> None:
        """Take the state that a write of this attempt has just read; it need not be looked for at once."""
        if state in ACTIVE:
            self._state, self._seen = state, _clock()

    def on_lost(self, action: Callable[[], None]) -> None:
        """Have ``action`` called when the lease is lost; at once if it is lost already."""
        with self._lock:
            self._on_lost = action
            if self.lost.is_set():
                action()

    def _beat(self) -> None:
        settings = self._store.settings
        while not self._stopped.wait(min(settings.watch_seconds, settings.heartbeat_seconds)):
            asked = _clock()
            try:
                if asked - self._renewed >= settings.heartbeat_seconds:
                    with self._store.write() as connection:
                        state = lease.heartbeat(connection, self.job.id, self.job.lease_epoch, settings.lease_seconds)
                    self._renewed = asked
                elif asked - self._seen < settings.watch_seconds:
                    continue
                else:
                    with self._store.read() as connection:
                        state = lease.look(connection, self.job.id, self.job.lease_epoch)
                self._state = state
            except LeaseLostError:
                self._lose("the lease of this attempt is lost")
                return
            except SQLAlchemyError as error:
                _log.warning("the database did not answer a heartbeat", error=str(error))

    def _guard(self) -> None:
        left = lease_seconds = self._store.settings.lease_seconds
        while not self._stopped.wait(left) and not self.lost.is_set():
            left = self._renewed + lease_seconds - _clock()
            if left <= 0:
                self.database_away = True
                self._lose("the database did not answer for as long as a lease lasts")
                return

    def _lose(self, message: str) -> None:
        if not self.ending:  # otherwise it is the supervisor itself that has just given the lease back
            _log.error("the child is killed: %s", message)
        with self._lock:
            self.lost.set()
            self._on_lost()


def _clock() -> float:
    """Seconds that also pass while the machine sleeps, so that a lease cannot outlive a suspended laptop."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
