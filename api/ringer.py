"""Rings the workers from a thread of its own, so that no request waits for the broker."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from api.doorbell import Doorbell
from jobs.offers import Offer

# Each ring wakes one slot of a worker, and that one takes job after job until none waits. So more rings than slots are
# of no use, and a burst of jobs need not be a burst of messages.
_RINGS_AT_ONCE = 8
_PAUSE_SECONDS = 0.1
_MOST_PENDING = 256
_CLOSE_SECONDS = 2.0


class Ringer:
    """A doorbell that returns at once and rings the given one a moment later.

    The first ring goes out immediately; after that, of each queue at most ``_RINGS_AT_ONCE`` every ``_PAUSE_SECONDS``,
    the newest jobs first. What is beyond ``_MOST_PENDING`` is left to the workers that were woken, and to the reaper.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._changed = threading.Condition()
        self._jobs: dict[str, OrderedDict[str, None]] = {}
        self._datasets: OrderedDict[str, None] = OrderedDict()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ringer", daemon=True)
        self._thread.start()

    def ring_job(self, job_id: str, queue: str) -> None:
        """Tell the workers of ``queue`` soon that a job waits."""
        with self._changed:
            _put(self._jobs.setdefault(queue, OrderedDict()), job_id)
            self._changed.notify()

    def ring_dataset(self, dataset_id: str) -> None:
        """Ask a worker soon to look through a data set."""
        with self._changed:
            _put(self._datasets, dataset_id)
            self._changed.notify()

    def broker_answers(self) -> bool:
        """Return whether the broker can be reached."""
        return self._doorbell.broker_answers()

    def worker_answers(self) -> bool:
        """Return whether any worker answers."""
        return self._doorbell.worker_answers()

    def offers(self) -> list[Offer] | None:
        """Return what the workers have announced; ``None`` if the broker cannot be asked."""
        return self._doorbell.offers()

    def close(self) -> None:
        """Ring for what was asked for last, and close the connections."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_SECONDS)
        self._doorbell.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._jobs or self._datasets)
                jobs, datasets = self._taken()
                last = self._closed
            for job_id, queue in jobs:
                self._doorbell.ring_job(job_id, queue)
            for dataset_id in datasets:
                self._doorbell.ring_dataset(dataset_id)
            if last:
                return
            time.sleep(_PAUSE_SECONDS)

    def _taken(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Take what is rung for now: jobs with their queues, and data sets."""
        jobs = [
            (waiting.popitem()[0], queue)
            for queue, waiting in self._jobs.items()
            for _ in range(min(_RINGS_AT_ONCE, len(waiting)))
        ]
        self._jobs = {queue: waiting for queue, waiting in self._jobs.items() if waiting}
        datasets, self._datasets = list(self._datasets), OrderedDict()
        return jobs, datasets


def _put(pending: OrderedDict[str, None], name: str) -> None:
    """Remember ``name`` as the newest; the oldest is forgotten where there are too many."""
    pending[name] = None
    pending.move_to_end(name)
    if len(pending) > _MOST_PENDING:
        pending.popitem(last=False)
