"""Writes of one attempt to the database: each carries its epoch, is repeated through outages, and happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from jobs import events
from jobs.errors import LeaseLostError
from jobs.records import Job
from jobs.states import JobState
from jobs.store import Store

_log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0


class Journal:
    """Runs transactions of an attempt. While the database is away it waits, until ``lost`` is set.

    ``saw`` is called with the state that the job had at the end of each.
    """

    def __init__(
        self, store: Store, job: Job, lost: threading.Event, saw: Callable[[JobState], object] = lambda _: None
    ) -> None:
        self._store = store
        self._job = job
        self._lost = lost
        self._saw = saw
        self._seq = job.next_seq - 1

    def write(self, action: Callable[[Connection], T]) -> T | None:
        """Run ``action`` in a transaction and commit; ``action`` adds at least one event that is no state event.

        Where the connection broke during a commit, it is not known whether that commit happened: the log is looked at
        before the action is repeated, and ``None`` is returned if it had happened after all.

        Raises:
            LeaseLostError: the attempt does not hold the job any more. Nothing was written.
        """
        wait, uncertain = _FIRST_WAIT_SECONDS, False
        while True:
            if self._lost.is_set():
                raise LeaseLostError(self._job.id, self._job.lease_epoch)
            try:
                with self._store.write() as connection:
                    result: T | None = None
                    if not (uncertain and self._committed(connection)):
                        result = action(connection)
                    seq, state = events.tip(connection, self._job.id)
            except DBAPIError as error:
                if not _passing(error):
                    raise
                _log.warning("the database is away; the write will be repeated", error=str(error.orig))
                uncertain = True
                self._lost.wait(wait)
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            else:
                self._seq = seq
                self._saw(state)
                return result

    def _committed(self, connection: Connection) -> bool:
        """Whether this attempt added events since its last known write."""
        return any(
            event.type != "state" and event.epoch == self._job.lease_epoch
            for event in events.read(connection, self._job.id, after=self._seq)
        )


def _passing(error: DBAPIError) -> bool:
    """Whether the database may do it the next time: it was away, busy, full or broke a deadlock; no wrong statement."""
    return error.connection_invalidated or type(error).__name__ in {"OperationalError", "InterfaceError"}
