"""The machine, and this process's memory."""

from __future__ import annotations

import ctypes
import gc
import platform
import re
from pathlib import Path


def cpu_name() -> str:
    """The processor's name, as the operating system tells it."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def has_vnni() -> bool:
    """Whether the processor adds four 8-bit products at a time in 32 bits; where the system does not tell, no."""
    path = Path("/proc/cpuinfo")
    return path.exists() and re.search(r"\bavx(512)?_vnni\b", path.read_text()) is not None


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
