"""Sharing one core by turns: finding the processes that are held to it, stopping them, letting them go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from benchmarks.errors import BenchmarkError

_TICKS = os.sysconf("SC_CLK_TCK")
_BUSY_SHARE = 0.05
_PATIENCE_SECONDS = 60.0


def held(core: int) -> set[int]:
    """Ids of the processes that may run on this core only. None of the kernel's own."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with suppress(ProcessLookupError, PermissionError, FileNotFoundError):
            if os.sched_getaffinity(pid) == {core} and (folder / "cmdline").read_bytes():
                found.add(pid)
    return found


def stop(core: int, spared: Collection[int]) -> set[int]:
    """Stop all processes that are held to a core, but those; return which. What one starts meanwhile is stopped too."""
    stopped: set[int] = set()
    while fresh := held(core) - stopped - set(spared):
        for pid in fresh:
            _send(pid, signal.SIGSTOP)
        stopped |= fresh
    return stopped


def go_on(pids: Collection[int]) -> None:
    """Let stopped processes go on."""
    for pid in pids:
        _send(pid, signal.SIGCONT)


def rest(core: int, spared: Collection[int]) -> None:
    """Wait until the processes that are held to a core, but those, compute next to nothing.

    Raises:
        BenchmarkError: they do not in a minute.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = _computed(held(core) - set(spared))
    while time.monotonic() < deadline:
        time.sleep(1)
        now = _computed(held(core) - set(spared))
        if now - before < _BUSY_SHARE:
            return
        before = now
    raise BenchmarkError("the service does not come to rest")


def _computed(pids: Collection[int]) -> float:
    """Seconds for which these processes computed so far: ``utime`` and ``stime`` of proc(5)."""
    total = 0
    for pid in pids:
        with suppress(ProcessLookupError, FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
