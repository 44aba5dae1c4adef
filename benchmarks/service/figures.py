"""Rows of results: one object per figure."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from benchmarks.machine import cpu_name
from benchmarks.results import Row


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def row(
    part: str, database: str, what: str, value: float, unit: str, *, most: float | None = None, **details: Any
) -> Row:
    """One figure. ``most`` is the bound that it is held to, if there is one."""
    return {
        "part": part,
        "database": database,
        "what": what,
        "value": round(value, 4),
        "unit": unit,
        "most": most,
        "details": details,
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Count, median, 99th percentile and maximum of measured times."""
    found = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}
    return {"count": len(values), **{name: round(value, 3) for name, value in found.items()}}
