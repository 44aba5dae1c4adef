"""Curves of a job, read from its metric events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, func, select

from jobs.states import ACTIVE, TERMINAL
from jobs.tables import curves, events, jobs

KINDS = ("step", "epoch", "full_precision", "quantization", "telemetry", "search")
LONGEST_NAME = 400
"""Of a curve that can be asked for."""

WORTH_FOLDING = 512
"""Events of a running job after which they are folded into columns (:mod:`jobs.curves`)."""

_PER_LAYER = frozenset({"quantization", "telemetry", "search"})
_NOT_CURVES = frozenset({"kind", "step", "epoch", "best", "type"})


@dataclass(frozen=True)
class Series:
    """One curve: ``values[i]`` is the figure ``name`` after ``steps[i]`` optimiser steps. ``kind``: step, epoch, …

    ``name`` of a figure per layer (quantization, telemetry) is ``layer/figure``. A value that was not finite is
    ``None``.
    """

    kind: str
    name: str
    steps: list[int]
    values: list[float | None]


def series(
    connection: Connection,
    job_id: str,
    *,
    kind: str | None = None,
    names: Sequence[str] | None = None,
    points: int | None = None,
) -> list[Series]:
    """The curves of a job, by kind and name.

    Steps that were repeated after a crash appear once, as they were last reported.

    Args:
        connection: where to read.
        job_id: the job.
        kind: only the curves of this kind.
        names: only the curves of these names.
        points: at most about so many points per curve, evenly chosen; the last one is always among them.
    """
    query = select(events.c.data).where(events.c.job_id == job_id, events.c.kind.in_([kind] if kind else KINDS))
    curves: dict[tuple[str, str], dict[int, float | None]] = {}
    for data in connection.scalars(query.order_by(events.c.seq)):
        for name, value in figures(data):
            if names is None or name in names:
                curves.setdefault((data["kind"], name), {})[int(data["step"])] = value
    found = []
    for (curve_kind, name), by_step in sorted(curves.items()):
        steps = _thin(sorted(by_step), points)
        found.append(Series(curve_kind, name, steps, [by_step[step] for step in steps]))
    return found


def unfolded(connection: Connection, *, ended: bool, limit: int = 100) -> list[str]:
    """Ids of jobs whose events are worth a fold: of running ones that have many, or of ended ones that have any."""
    return list(connection.scalars(_unfolded(ended, limit)))


@cache
def _unfolded(ended: bool, limit: int) -> Select[str]:
    behind = jobs.c.next_seq - 1 - func.coalesce(curves.c.seq, 0)
    query = select(jobs.c.id).select_from(jobs.outerjoin(curves, curves.c.job_id == jobs.c.id)).limit(limit)
    if ended:
        return query.where(jobs.c.state.in_(sorted(TERMINAL)), behind > 0)
    return query.where(jobs.c.state.in_(sorted(ACTIVE)), behind >= WORTH_FOLDING)


def figures(data: Mapping[str, Any]) -> list[tuple[str, float | None]]:
    """Name and value of each point of a curve that a metric event has; names as in :class:`Series`."""
    if data["kind"] in _PER_LAYER:
        return [
            (f"{layer}/{name}", value) for layer, figures in data["layers"].items() for name, value in figures.items()
        ]
    return [(name, value) for name, value in data.items() if name not in _NOT_CURVES]


def _thin(steps: list[int], points: int | None) -> list[int]:
    if points is None or len(steps) <= points:
        return steps
    stride = -(-len(steps) // max(1, points))
    return steps[::-1][::stride][::-1]
