"""What processes take of a core: the time that they compute, and the time that they wait for something else than it.

From ``/proc``: ``stat`` (proc(5)) for computing, and ``schedstat`` (Linux' scheduler statistics) for waiting.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import TracebackType

from benchmarks.errors import BenchmarkError

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.25


def held(core: int) -> set[int]:
    """Ids of the processes that may run on this core only. None of the kernel's own."""
    found = set()
    for pid in _everybody():
        try:
            if os.sched_getaffinity(pid) == {core} and _command(pid):
                found.add(pid)
        except (ProcessLookupError, PermissionError):
            continue
    return found


def _everybody() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _fields(pid: int) -> list[str]:
    """The fields of ``stat`` from the state on (the third); none of a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def computed(pids: set[int]) -> float:
    """Seconds for which these processes, and those children of theirs that have ended and were waited for, computed."""
    return sum(sum(map(int, _fields(pid)[11:15])) for pid in pids) / _TICKS


class Waiting:
    """For the time of a ``with`` block: how long the main thread of a process waits for anything but the core.

    A disk, a lock, another process. The process may begin and end within the block.
    """

    def __init__(self, word: str, core: int, other: int) -> None:
        """``word``: is in the command of that process and of no other on ``core``. Looks now and then, from ``other``."""
        self._word = word.encode()
        self._core = core
        self._other = other
        self._waited: dict[int, float] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def seconds(self) -> float:
        """So far.

        Raises:
            BenchmarkError: there was no such process, or more than one.
        """
        if len(self._waited) != 1:
            raise BenchmarkError(f"{len(self._waited)} processes had {self._word.decode()!r} in their command, not one")
        [waited] = self._waited.values()
        return waited

    def _look(self) -> None:
        os.sched_setaffinity(0, {self._other})  # of this thread
        while not self._stop.wait(_LOOK_SECONDS):
            for pid in set(self._waited) or {pid for pid in held(self._core) if self._word in _command(pid)}:
                try:
                    run, queued, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                fields = _fields(pid)
                if fields and fields[0] != "Z":
                    there = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS
                    self._waited[pid] = max(0.0, there - (int(run) + int(queued)) / 1e9)
