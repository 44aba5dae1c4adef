"""Training children that have loaded PyTorch and wait for their job, which so begins seconds sooner.

They are confined as every child, before they load anything; what they may use is the same for every job. None is kept
for jobs of several processes, which have a network of their own, nor for tables, whose library brings its own OpenMP.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import structlog

from jobs.ids import new_id
from jobs.records import Job
from jobs.settings import Settings
from worker.capacity import child_limits
from worker.process import Child, child_environment
from worker.workdir import workdir

_log = structlog.stdlib.get_logger(__name__)

_PREFIX = "standby"
_RETRY_SECONDS = 30.0


class Standby:
    """One child that waits, in a folder of its own. A context manager: in the end both are gone."""

    def __init__(self, settings: Settings, threads: int, command: Sequence[str]) -> None:
        with ExitStack() as stack:
            self.folder: Path = stack.enter_context(workdir(settings.data_dir / "work", new_id(_PREFIX)))
            limits = child_limits(settings).model_dump_json()
            environment = child_environment(self.folder, threads)
            self.child = Child([*command, "--standby", limits], self.folder, environment)
            self._stack = stack.pop_all()

    def __enter__(self) -> Standby:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.kill()
        self.child.finish(0)
        self._stack.close()


class Nursery:
    """Keeps as many children waiting as slots are free. Thread-safe.

    All are started by its one thread, which stays as long as the process: the kernel ends a child with the thread that
    started it.
    """

    def __init__(self, settings: Settings, threads: int, command: Sequence[str]) -> None:
        self._settings = settings
        self._threads = threads
        self._command = command
        self._changed = threading.Condition()
        self._waiting: deque[Standby] = deque()
        self._free = settings.slots
        self._closed = False

    def start(self) -> None:
        """Have children from now on, unless the settings say that there are none."""
        if self._settings.standby:
            threading.Thread(target=self._run, name="nursery", daemon=True).start()

    def slot_taken(self) -> None:
        """One child fewer is wanted."""
        with self._changed:
            self._free -= 1

    def slot_freed(self) -> None:
        """One child more is wanted."""
        with self._changed:
            self._free += 1
            self._changed.notify()

    def take(self, job: Job) -> Standby | None:
        """A child for this job, which is the caller's to end; ``None`` if it needs one of its own, or none waits."""
        if job.spec.parallel is not None or job.spec.task == "tabular":
            return None
        while True:
            with self._changed:
                if not self._waiting:
                    return None
                standby = self._waiting.popleft()
            if not standby.child.ended():
                return standby
            _discard(standby)

    def close(self) -> None:
        """End those that wait; no more are started."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = list(self._waiting), deque()
        for standby in waiting:
            with standby:
                pass

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._closed and len(self._waiting) < self._free)
            try:
                standby = Standby(self._settings, self._threads, self._command)
            except OSError as error:
                _log.warning("no training process could be started ahead of its job", error=str(error))
                time.sleep(_RETRY_SECONDS)
                continue
            with self._changed:
                if not self._closed:
                    self._waiting.append(standby)
                    continue
            with standby:  # closed meanwhile
                pass


def _discard(standby: Standby) -> None:
    """Clear away one that has ended before it had a job."""
    with standby:
        _log.warning("a waiting training process ended", log=standby.child.log_tail())
