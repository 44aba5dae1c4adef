"""The machine."""

from __future__ import annotations

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
