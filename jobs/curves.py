"""Curves as columns: what a job's metric events say, kept in a form that is read a hundred times as fast.

The log stays the source of truth. Per job, :func:`fold` turns the events after the last fold into arrays, in parts of
up to ``_PART_POINTS`` points that are only ever appended to; :func:`read` takes the parts and the few events that no
fold has reached yet, and lets the last report of a step count, as :func:`jobs.metrics.series` does. Recording a metric
costs nothing more; any number of processes may fold.

A part has the same number of points in each of its columns: ``@step``, ``@time`` (microseconds that the job had been
running) and ``@epoch``, and one for each figure. Values are little-endian doubles; null is a quiet NaN and a figure
that the event did not have is another one (:data:`_ABSENT`). Steps and times are differences, compressed.

Imports NumPy, so the API process imports this when it is first needed.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, and_, delete, exists, func, insert, or_, select, update

from jobs import database
from jobs.metrics import KINDS, LONGEST_NAME, figures
from jobs.states import ACTIVE
from jobs.store import Store
from jobs.tables import curve_parts, curves, events, jobs

Axis: TypeAlias = Literal["step", "epoch", "time"]
Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

_PART_POINTS = 4096
_EVENTS_PER_FOLD = 4096
_STEP, _TIME, _EPOCH = "@step", "@time", "@epoch"
_AXES = (_STEP, _TIME, _EPOCH)
_MICROSECONDS = 1e6
_ABSENT = np.frombuffer(np.uint64(0x7FF8_0000_0000_0ABE).tobytes(), np.float64)[0]
_ABSENT_BITS = np.float64(_ABSENT).view(np.uint64)


@dataclass(frozen=True)
class Curve:
    """One curve, in the order of its steps, each once: ``values[i]`` after ``steps[i]`` optimiser steps; NaN is null.

    ``places[i]`` is where the point lies on the axis that was asked for: the step, the epochs done (NaN where nothing
    tells), or the seconds that the job had been running, without waiting and pauses.
    """

    kind: str
    name: str
    steps: Integers
    places: Floats
    values: Floats


@dataclass
class _Clock:
    """How long a job had been running, as its ``state`` events tell."""

    ran_seconds: float = 0.0
    claimed_at: datetime | None = None

    def at(self, instant: datetime) -> float:
        """Seconds of all attempts up to ``instant``."""
        if self.claimed_at is None:
            return self.ran_seconds
        return self.ran_seconds + max(0.0, (instant - self.claimed_at).total_seconds())

    def move(self, data: Mapping[str, Any], instant: datetime) -> None:
        """Take note of a ``state`` event."""
        active = data["to"] in ACTIVE
        if active and self.claimed_at is None:
            self.claimed_at = instant
        elif not active:
            self.ran_seconds, self.claimed_at = self.at(instant), None


@dataclass
class _Points:
    """The reports of one kind, in the order of the log."""

    steps: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    epochs: list[float] = field(default_factory=list)
    columns: dict[str, list[float]] = field(default_factory=dict)

    def add(self, data: Mapping[str, Any], seconds: float) -> None:
        """Append one report."""
        count = len(self.steps)
        self.steps.append(int(data["step"]))
        self.times.append(round(seconds * _MICROSECONDS))
        self.epochs.append(_number(data.get("epoch")))
        for name, value in figures(data):
            if len(name) <= LONGEST_NAME:
                column = self.columns.setdefault(name, [])
                column += [_ABSENT] * (count - len(column))
                column[count:] = [_number(value)]  # of a name that comes twice the last one counts

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Columns of equal length by name."""
        count = len(self.steps)
        found: dict[str, NDArray[Any]] = {
            _STEP: np.array(self.steps, np.int64),
            _TIME: np.array(self.times, np.int64),
            _EPOCH: np.array(self.epochs, np.float64),
        }
        for name, column in self.columns.items():
            found[name] = np.array(column + [_ABSENT] * (count - len(column)), np.float64)
        return found


def read(
    connection: Connection,
    job_ids: Sequence[str],
    kinds: Collection[str],
    *,
    names: Collection[str] | None = None,
    axis: Axis = "step",
) -> dict[str, list[Curve]]:
    """The curves of jobs, by kind and name. Give it one view of the data (:func:`jobs.database.snapshot`).

    Args:
        connection: where to read.
        job_ids: the jobs; each has an entry in the answer.
        kinds: only curves of these kinds.
        names: only curves of these names; ``None``: all.
        axis: what ``places`` are.
    """
    pieces: dict[str, dict[str, list[dict[str, NDArray[Any]]]]] = {job_id: {} for job_id in job_ids}
    needed = {_STEP, f"@{axis}"}
    if names is None:
        named = curve_parts.c.name.not_in(sorted({*_AXES} - needed))
    else:
        named = curve_parts.c.name.in_(sorted(needed.union(names)))
    wanted = and_(curve_parts.c.job_id.in_(job_ids), curve_parts.c.kind.in_(sorted(kinds)), named)
    last: tuple[str, str, int] | None = None
    for row in _parts(connection, wanted):
        here = row.job_id, row.kind, row.part
        if here != last:
            pieces[row.job_id].setdefault(row.kind, []).append({})
            last = here
        pieces[row.job_id][row.kind][-1][row.name] = _decoded(row.name, row.data)
    ratios: dict[str, float] = {}
    for row in _heads(connection, job_ids):
        ratios[row.id] = _epochs_per_step(row.progress)
        if row.next_seq - 1 > (row.seq or 0):
            tail, _ = _collect(_log(connection, row.id, row.seq or 0, kinds), _clock(row))
            for kind, points in tail.items():
                pieces[row.id].setdefault(kind, []).append(points.arrays())
    return {
        job_id: [
            curve
            for kind, parts in sorted(found.items())
            for curve in _curves(kind, parts, names, axis, ratios.get(job_id, np.nan))
        ]
        for job_id, found in pieces.items()
    }


def fold(store: Store, job_id: str) -> int:
    """Fold events of a job that no fold has reached, up to ``_EVENTS_PER_FOLD``; return how many.

    0 also when another process was faster, or the log was cut meanwhile.
    """
    with store.read() as connection:
        head = _heads(connection, [job_id])
        if not head:
            return 0
        row = head[0]
        begin, clock = row.seq or 0, _clock(row)
        limit = min(row.next_seq - 1, begin + _EVENTS_PER_FOLD)
        found, last = _collect(_log(connection, job_id, begin, KINDS, until=limit), clock)
        open_parts = {kind: _open_part(connection, job_id, kind) for kind in found} if begin else {}
    with store.write() as connection:
        if not _advance(connection, job_id, row.seq, limit, clock, last):
            return 0
        for kind, points in found.items():
            _append(connection, job_id, kind, open_parts.get(kind, _Open(0, {})), points.arrays())
    return int(limit - begin)


def _heads(connection: Connection, job_ids: Sequence[str]) -> list[Any]:
    query = select(jobs.c.id, jobs.c.next_seq, jobs.c.progress, curves.c.seq, curves.c.ran_seconds, curves.c.claimed_at)
    joined = jobs.outerjoin(curves, curves.c.job_id == jobs.c.id)
    return list(connection.execute(query.select_from(joined).where(jobs.c.id.in_(job_ids))))


def _clock(head: Row[Any]) -> _Clock:
    return _Clock() if head.seq is None else _Clock(head.ran_seconds, head.claimed_at)


def _epochs_per_step(progress: Mapping[str, Any] | None) -> float:
    steps, epochs = ((progress or {}).get(name) for name in ("total_steps", "epochs"))
    return epochs / steps if steps and epochs else np.nan


def _log(
    connection: Connection, job_id: str, after: int, kinds: Collection[str], until: int | None = None
) -> Iterable[Row[Any]]:
    """The events that curves are made of, in order."""
    wanted = or_(events.c.kind.in_(sorted(kinds)), events.c.type == "state")
    query = select(events.c.seq, events.c.type, events.c.kind, events.c.data, events.c.created_at).where(
        events.c.job_id == job_id, events.c.seq > after, wanted
    )
    if until is not None:
        query = query.where(events.c.seq <= until)
    return connection.execute(query.order_by(events.c.seq))


def _collect(log: Iterable[Row[Any]], clock: _Clock) -> tuple[dict[str, _Points], int | None]:
    """The points of each kind, and the seq of the last event that was looked at; moves the clock on."""
    found: dict[str, _Points] = {}
    seq = None
    for row in log:
        seq = row.seq
        if row.type == "state":
            clock.move(row.data, row.created_at)
        else:
            found.setdefault(row.kind, _Points()).add(row.data, clock.at(row.created_at))
    return found, seq


@dataclass(frozen=True)
class _Open:
    """The part of one kind that is appended to: its number, and its columns so far."""

    part: int
    columns: dict[str, NDArray[Any]]


def _open_part(connection: Connection, job_id: str, kind: str) -> _Open:
    mine = and_(curve_parts.c.job_id == job_id, curve_parts.c.kind == kind)
    newest = select(func.max(curve_parts.c.part)).where(mine).scalar_subquery()
    rows = list(_parts(connection, and_(mine, curve_parts.c.part == newest)))
    if not rows:
        return _Open(0, {})
    if rows[0].points >= _PART_POINTS:
        return _Open(rows[0].part + 1, {})
    return _Open(rows[0].part, {row.name: _decoded(row.name, row.data) for row in rows})


def _advance(
    connection: Connection, job_id: str, before: int | None, seq: int, clock: _Clock, last: int | None
) -> bool:
    """Say how far the log is folded, if nobody has folded or cut it since it was read."""
    values = {"seq": seq, "ran_seconds": clock.ran_seconds, "claimed_at": clock.claimed_at}
    if (
        last is not None
        and not connection.execute(select(exists().where(events.c.job_id == job_id, events.c.seq == last))).scalar_one()
    ):
        return False
    if before is None:
        there = select(exists().where(jobs.c.id == job_id))
        if not connection.execute(there).scalar_one():
            return False
        row = database.insert(connection, curves).values(job_id=job_id, **values).on_conflict_do_nothing()
        return connection.execute(row.returning(curves.c.seq)).one_or_none() is not None
    mine = (curves.c.job_id == job_id) & (curves.c.seq == before)
    return connection.execute(update(curves).where(mine).values(**values)).rowcount == 1


def _append(connection: Connection, job_id: str, kind: str, open_part: _Open, columns: dict[str, NDArray[Any]]) -> None:
    columns = _joined([open_part.columns, columns] if open_part.columns else [columns])
    mine = (curve_parts.c.job_id == job_id) & (curve_parts.c.kind == kind) & (curve_parts.c.part == open_part.part)
    connection.execute(delete(curve_parts).where(mine))
    count = len(columns[_STEP])
    rows = [
        {
            "job_id": job_id,
            "kind": kind,
            "part": open_part.part + number,
            "name": name,
            "points": min(_PART_POINTS, count - first),
            "data": _encoded(name, column[first : first + _PART_POINTS]),
        }
        for number, first in enumerate(range(0, count, _PART_POINTS))
        for name, column in columns.items()
    ]
    connection.execute(insert(curve_parts), rows)


def _parts(connection: Connection, condition: Any) -> Iterable[Row[Any]]:
    query = select(
        curve_parts.c.job_id, curve_parts.c.kind, curve_parts.c.part, curve_parts.c.name, curve_parts.c.points,
        curve_parts.c.data,
    )  # fmt: skip
    order = curve_parts.c.job_id, curve_parts.c.kind, curve_parts.c.part
    return connection.execute(query.where(condition).order_by(*order))


def _encoded(name: str, column: NDArray[Any]) -> bytes:
    if name in (_STEP, _TIME):
        return zlib.compress(np.diff(column, prepend=0).astype("<i8").tobytes(), 1)
    return column.astype("<f8", copy=False).tobytes()


def _decoded(name: str, data: bytes) -> NDArray[Any]:
    if name in (_STEP, _TIME):
        return np.cumsum(np.frombuffer(zlib.decompress(data), "<i8"))
    return np.frombuffer(data, "<f8")


def _joined(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Parts one after the other. A column that a part lacks is absent there."""
    if len(parts) == 1:
        return dict(parts[0])
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: np.concatenate([part[name] if name in part else np.full(len(part[_STEP]), _ABSENT) for part in parts])
        for name in names
    }


def _curves(
    kind: str, parts: Sequence[Mapping[str, NDArray[Any]]], names: Collection[str] | None, axis: Axis, ratio: float
) -> list[Curve]:
    columns = _joined(parts)
    steps = columns[_STEP]
    places = _places(columns, axis, ratio)
    every = _last_of_each_step(steps)
    found = []
    for name in sorted(columns.keys() - set(_AXES)):
        if names is not None and name not in names:
            continue
        values, kept = columns[name], every
        present = values.view(np.uint64) != _ABSENT_BITS
        if not present.all():
            there = np.flatnonzero(present)
            kept = there[_last_of_each_step(steps[there])]
        if len(kept):
            found.append(Curve(kind, name, steps[kept], places[kept], values[kept]))
    return found


def _places(columns: Mapping[str, NDArray[Any]], axis: Axis, ratio: float) -> Floats:
    steps = columns[_STEP].astype(np.float64)
    if axis == "time":
        return columns[_TIME] / _MICROSECONDS
    if axis == "epoch":
        told = columns[_EPOCH]
        return np.where(np.isnan(told), steps * ratio, told)
    return steps


def _last_of_each_step(steps: Integers) -> Integers:
    """Indices that put the points in the order of their steps; of equal ones only the last."""
    if np.all(steps[1:] > steps[:-1]):
        return np.arange(len(steps))
    order = np.argsort(steps, kind="stable")
    ordered = steps[order]
    last: Integers = order[np.append(ordered[1:] != ordered[:-1], True)]
    return last


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
