"""The bounded buffer between a child's pipe and the database, so that a training step never waits for SQL."""

from __future__ import annotations

import threading
from collections import deque

from fqt_core.events import GradientTelemetry, QuantizationStatistics, StepDone
from worker.protocol import Message


class EventBuffer:
    """First in, first out, for one reader of the pipe and one writer to the database.

    When it is full, figures of single steps are left out and counted (:meth:`take_dropped`); everything else has room
    of its own, since it comes rarely: only beyond that does ``put`` wait, and with it the child.
    """

    def __init__(self, capacity: int = 10_000, reserve: int = 1_000) -> None:
        self._items: deque[Message] = deque()
        self._capacity = capacity
        self._reserve = reserve
        self._changed = threading.Condition()
        self._closed = False
        self._dropped = 0
        self._wanted = 1  # messages that somebody waits for: a wake-up for each would cost more than the message

    def put(self, item: Message) -> None:
        """Add a message; waits only when even the reserve is full."""
        with self._changed:
            if isinstance(item, StepDone | QuantizationStatistics | GradientTelemetry):
                if len(self._items) >= self._capacity:
                    self._dropped += 1
                    return
            else:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity + self._reserve)
            self._items.append(item)
            if len(self._items) >= self._wanted:
                self._changed.notify_all()

    def take(self, limit: int, timeout: float) -> list[Message]:
        """Up to ``limit`` messages: those that come within ``timeout`` seconds; sooner if it is so many, or the end.

        Taken one by one, the steps of a small network would cost a transaction each.
        """
        with self._changed:
            self._wanted = limit
            self._changed.wait_for(lambda: len(self._items) >= limit or self._closed, timeout)
            taken = [self._items.popleft() for _ in range(min(limit, len(self._items)))]
            self._changed.notify_all()
            return taken

    def take_dropped(self) -> int:
        """How many messages were left out since the last call."""
        with self._changed:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def close(self) -> None:
        """No more will come (or none is wanted): nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def exhausted(self) -> bool:
        """Whether it is closed and empty."""
        with self._changed:
            return self._closed and not self._items
