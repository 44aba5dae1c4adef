"""Jobs side by side: the parameters that differ, what each figure came to, and curves on one axis.

Imports NumPy, so the API process imports this when it is first needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from jobs import curves
from jobs.curves import Axis, Curve
from jobs.errors import AnswerTooLargeError, NotFoundError
from jobs.organisations import within
from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.tables import jobs
from jobs.thinning import m4

DEFAULT_KINDS = ("step", "epoch")
MOST_POINTS = 4_000_000
"""Of all curves of an answer together."""

_NO_PARAMETERS = frozenset({"name"})
_JOBS_AT_ONCE = 64


@dataclass(frozen=True)
class Point:
    """A value of a curve, ``None`` if it was not finite, and after how many optimiser steps."""

    value: float | None
    step: int


@dataclass(frozen=True)
class Figure:
    """One curve in brief. ``least`` and ``greatest`` are the first of their value; ``None``: no value was finite.

    ``places`` and ``values`` are the curve itself, thinned out.
    """

    kind: str
    name: str
    points: int
    least: Point | None
    greatest: Point | None
    last: Point
    places: list[float]
    values: list[float]


@dataclass(frozen=True)
class Compared:
    """A job: those of its parameters that differ, the plain figures of its result, its curves."""

    id: str
    name: str | None
    state: JobState
    parameters: dict[str, Any]
    result: dict[str, Any]
    figures: list[Figure]
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True)
class Comparison:
    """``differing``: names of the parameters that not all jobs have with the same value. ``equal``: the others."""

    differing: list[str]
    equal: dict[str, Any]
    jobs: list[Compared]


def compare(
    connection: Connection,
    job_ids: Sequence[str],
    *,
    organisation: str,
    kinds: Collection[str] = DEFAULT_KINDS,
    names: Collection[str] | None = None,
    axis: Axis = "step",
    points: int = 100,
) -> Comparison:
    """Compare jobs, in the order given. Give it one view of the data (:func:`jobs.database.snapshot`).

    Args:
        connection: where to read.
        job_ids: the jobs; one that is named twice appears once.
        organisation: whose they must be.
        kinds: figures of these kinds only.
        names: figures of these names only; ``None``: all.
        axis: what curves are put on.
        points: of each curve, at most so many (four are the least); 0: no curves.

    Raises:
        NotFoundError: the organisation has no such job.
        AnswerTooLargeError: the curves have more than ``MOST_POINTS`` points together.
    """
    wanted = list(dict.fromkeys(job_ids))
    columns = (
        jobs.c.id, jobs.c.name, jobs.c.state, jobs.c.spec, jobs.c.result, jobs.c.created_at, jobs.c.finished_at
    )  # fmt: skip
    mine = jobs.c.id.in_(wanted) & within(jobs, organisation)
    rows = {row.id: row for row in connection.execute(select(*columns).where(mine))}
    for job_id in wanted:
        if job_id not in rows:
            raise NotFoundError("job", job_id)
    parameters = {job_id: parameters_of(rows[job_id].spec) for job_id in wanted}
    differing, equal = _sides(list(parameters.values()))
    figures: dict[str, list[Figure]] = {}
    for first in range(0, len(wanted), _JOBS_AT_ONCE):  # what is not thinned out yet takes much memory
        part = wanted[first : first + _JOBS_AT_ONCE]
        for job_id, found in curves.read(connection, part, kinds, names=names, axis=axis).items():
            figures[job_id] = [_figure(curve, points) for curve in found]
        if sum(len(figure.places) for told in figures.values() for figure in told) > MOST_POINTS:
            raise AnswerTooLargeError(MOST_POINTS)
    compared = [
        Compared(
            id=row.id,
            name=row.name,
            state=JobState(row.state),
            parameters={name: parameters[row.id][name] for name in differing if name in parameters[row.id]},
            result={name: value for name, value in (row.result or {}).items() if not isinstance(value, dict | list)},
            figures=figures[row.id],
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
        for row in (rows[job_id] for job_id in wanted)
    ]
    return Comparison(differing, equal, compared)


def parameters_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a job spec by dotted name, every default filled in; a list of plain values is one value."""
    full = JobSpec.model_validate(spec).model_dump(mode="json")
    return dict(_flat("", {name: value for name, value in full.items() if name not in _NO_PARAMETERS}))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        parts = [(str(index), item) for index, item in enumerate(value)]
    else:
        yield prefix, value
        return
    for name, inner in parts:
        yield from _flat(f"{prefix}.{name}" if prefix else name, inner)


def _sides(all_parameters: Sequence[Mapping[str, Any]]) -> tuple[list[str], dict[str, Any]]:
    """Names of parameters that differ, a lack being a difference; and those that are equal, with their value."""
    names = dict.fromkeys(name for parameters in all_parameters for name in parameters)
    first = all_parameters[0] if all_parameters else {}
    equal = {
        name: first[name]
        for name in names
        if all(name in parameters and parameters[name] == first.get(name) for parameters in all_parameters)
    }
    return [name for name in names if name not in equal], equal


def _figure(curve: Curve, points: int) -> Figure:
    steps, values = curve.steps, curve.values
    finite = not np.isnan(values).all()
    places: list[float] = []
    kept: list[float] = []
    if points:
        placed = np.flatnonzero(~np.isnan(curve.places))
        placed = placed[np.argsort(curve.places[placed], kind="stable")]
        chosen = placed[m4(curve.places[placed], values[placed], points)]
        places, kept = curve.places[chosen].tolist(), values[chosen].tolist()
    return Figure(
        kind=curve.kind,
        name=curve.name,
        points=len(steps),
        least=_point(curve, int(np.nanargmin(values))) if finite else None,
        greatest=_point(curve, int(np.nanargmax(values))) if finite else None,
        last=_point(curve, len(steps) - 1),
        places=places,
        values=kept,
    )


def _point(curve: Curve, index: int) -> Point:
    value = float(curve.values[index])
    return Point(None if np.isnan(value) else value, int(curve.steps[index]))
