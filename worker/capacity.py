"""How much of the machine a child gets: cores and memory, divided by the worker's slots."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from jobs.settings import Settings
from worker.protocol import Limits

_SHARE_OF_MEMORY = 0.9
_CGROUP = Path("/sys/fs/cgroup")


def threads_per_slot(settings: Settings) -> int:
    """Threads of each child. Equal for all slots: the number of threads is part of what makes a run repeatable."""
    return max(1, (settings.threads or usable_cores()) // settings.slots)


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may use, by its affinity and its container's quota."""
    cores = len(os.sched_getaffinity(0))
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, max(1, math.floor(int(quota) / int(period))))
    return cores


def usable_memory(cgroup: Path = _CGROUP) -> int:
    """Bytes of memory of the machine, or of the container if it has a limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(cgroup / "memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def has_room(settings: Settings) -> bool:
    """Whether the disks that a job needs have as much room as it takes to begin one."""
    return all(
        shutil.disk_usage(folder).free >= settings.min_free_bytes for folder in (settings.data_dir, settings.blobs)
    )


def child_limits(settings: Settings) -> Limits:
    """The limits of each child."""
    memory = settings.child_memory_bytes or int(usable_memory() * _SHARE_OF_MEMORY) // settings.slots
    return Limits(memory_bytes=memory, nice=settings.child_nice, file_bytes=settings.child_disk_bytes)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
