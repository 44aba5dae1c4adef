"""The memory of this process, as Linux tells it. Each function raises ``OSError`` where nothing tells."""

from __future__ import annotations

import ctypes
import gc
import re
from pathlib import Path


def resident_bytes() -> int:
    """Memory of this process that is resident, after what is free has gone back to the system."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    return _status("VmRSS")


def forget_peak() -> None:
    """Let :func:`peak_bytes` count from here. Where the system forbids it, it counts from the process's start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes() -> int:
    """The most memory that was resident at once."""
    return _status("VmHWM")


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(found[1]) * 1024
