"""Taking turns: finding the processes of a service, stopping them, letting them go on."""

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


def family(folder: Path) -> set[int]:
    """Ids of the processes that descend from this one or whose command names the folder, and of their descendants.

    A database server detaches itself from whoever starts it; its command names its folder.
    """
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            parents[int(entry.name)] = int(_fields(int(entry.name))[1])
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.add(int(entry.name))
    roots = found | {os.getpid()}
    while fresh := {pid for pid, parent in parents.items() if parent in roots} - roots:
        roots |= fresh
    return roots - {os.getpid()}


def stop(folder: Path, spared: Collection[int]) -> set[int]:
    """Stop a family but for those; return which. What one of it starts meanwhile is stopped too."""
    stopped: set[int] = set()
    while fresh := family(folder) - stopped - set(spared):
        for pid in fresh:
            _send(pid, signal.SIGSTOP)
        stopped |= fresh
    return stopped


def go_on(pids: Collection[int]) -> None:
    """Let stopped processes go on."""
    for pid in pids:
        _send(pid, signal.SIGCONT)


def rest(folder: Path) -> None:
    """Wait until a family computes next to nothing.

    Raises:
        BenchmarkError: it does not come to rest in a minute.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = _computed(family(folder))
    while time.monotonic() < deadline:
        time.sleep(1)
        now = _computed(family(folder))
        if now - before < _BUSY_SHARE:
            return
        before = now
    raise BenchmarkError("the service does not come to rest")


def _computed(pids: Collection[int]) -> float:
    """Seconds for which these processes computed so far: ``utime`` and ``stime`` of proc(5)."""
    total = 0
    for pid in pids:
        with suppress(ProcessLookupError, FileNotFoundError):
            total += sum(map(int, _fields(pid)[11:13]))
    return total / _TICKS


def _fields(pid: int) -> list[str]:
    """The fields of proc(5)'s ``stat`` from the state on, which is the third."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
