"""What is written down beside requests, not within them: the audit log, and when keys were last used.

A request only leaves a note in memory; a thread of its own writes all notes of half a second in one transaction. So a
submission does not wait for a second commit, and a read for none. The price: a process that is killed loses what it
was told in its last half second (its log of requests has it), and one whose database is away for long keeps
``_CAPACITY`` entries and counts the rest. What was counted is told: in the audit log itself, in the figures, in the
log.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.instruments import Instruments
from jobs import audit_log, keys
from jobs.audit_log import Entry
from jobs.store import Store

_CAPACITY = 10_000
_FLUSH_SECONDS = 0.5
_USE_SECONDS = 60.0
log = structlog.get_logger("fqt.api.audit")


class Ledger:
    """Takes notes in any thread; :meth:`run` writes them."""

    def __init__(self, store: Store, instruments: Instruments) -> None:
        self._store = store
        self._instruments = instruments
        self._lock = threading.Lock()
        self._entries: list[Entry] = []
        self._lost: Counter[str] = Counter()
        self._used: set[str] = set()
        self._noted: dict[str, float] = {}

    def note(self, entry: Entry) -> None:
        """Have an entry written to the audit log."""
        with self._lock:
            if len(self._entries) < _CAPACITY:
                self._entries.append(entry)
                return
            self._lost[entry.organisation_id] += 1
        self._instruments.audit_lost.inc()

    def used(self, key_id: str) -> None:
        """Have it written that a key was used now, at most once a minute."""
        instant = time.monotonic()
        if instant - self._noted.get(key_id, -_USE_SECONDS) < _USE_SECONDS:
            return
        with self._lock:
            self._noted[key_id] = instant
            self._used.add(key_id)

    def run(self, stop: threading.Event) -> None:
        """Write until ``stop`` is set, and then what is left."""
        while not stop.wait(_FLUSH_SECONDS):
            self.flush()
        self.flush()

    def flush(self) -> None:
        """Write what was noted. If the database refuses, it is kept for the next time."""
        with self._lock:
            entries, self._entries = self._entries, []
            lost, self._lost = self._lost, Counter()
            used, self._used = self._used, set()
        if not (entries or lost or used):
            return
        told = [_lost(organisation, count) for organisation, count in lost.items()]
        try:
            with self._store.write() as connection:
                audit_log.write(connection, [*entries, *told])
                if used:
                    keys.touch(connection, used)
        except SQLAlchemyError as error:
            log.warning("the audit log cannot be written right now", waiting=len(entries), error=str(error))
            with self._lock:
                self._entries = entries + self._entries
                self._lost += lost
                self._used |= used
        else:
            if told:
                log.error("entries of the audit log were lost", count=sum(lost.values()))


def _lost(organisation: str, count: int) -> Entry:
    return Entry(action="entries lost", organisation_id=organisation, actor="service", resource_id=f"{count} entries")
