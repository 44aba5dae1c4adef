"""The log of a job: rows ``(job_id, seq)`` that are only ever added, numbered from 1 without gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from jobs.errors import LeaseLostError, NotFoundError
from jobs.organisations import within
from jobs.records import EventType, JobEvent
from jobs.sqltypes import now
from jobs.states import ACTIVE, JobState
from jobs.tables import events, jobs

_LINES = 20
_SEARCHED = 2000

NewEvent = tuple[EventType, Mapping[str, Any]]

_INSERT = insert(events).values(created_at=now())


def append(
    connection: Connection,
    job_id: str,
    epoch: int,
    items: Sequence[NewEvent],
    *,
    values: Mapping[str, Any] | None = None,
) -> int:
    """Add events of the attempt with this epoch, and set columns of the job with them; return the last seq.

    ``values`` are the columns, e.g. what the events amount to so far (``progress``).

    Raises:
        LeaseLostError: the attempt does not hold the job any more. Nothing was written.
    """
    columns = {key: clean(value) for key, value in (values or {}).items()}
    last = connection.execute(
        update(jobs)
        .where(held(job_id, epoch))
        .values(next_seq=jobs.c.next_seq + len(items), **columns)
        .returning(jobs.c.next_seq)
    ).scalar_one_or_none()
    if last is None:
        raise LeaseLostError(job_id, epoch)
    insert_rows(connection, job_id, epoch, last - len(items), items)
    return int(last) - 1


def insert_rows(connection: Connection, job_id: str, epoch: int, first: int, items: Sequence[NewEvent]) -> None:
    """Insert event rows from seq ``first`` on; the caller has moved ``next_seq`` in the same transaction."""
    if not items:
        return
    rows = [
        {
            "job_id": job_id,
            "seq": first + offset,
            "type": type_,
            "kind": data.get("kind") if type_ == "metric" else None,
            "epoch": epoch,
            "data": clean(data),
        }
        for offset, (type_, data) in enumerate(items)
    ]
    # A list, even of one, makes the driver open a pipeline, which costs two round trips.
    connection.execute(_INSERT, rows if len(rows) > 1 else rows[0])


def read(
    connection: Connection,
    job_id: str,
    *,
    after: int = 0,
    limit: int = 100,
    types: Sequence[EventType] | None = None,
) -> list[JobEvent]:
    """The events with a seq above ``after``, in order, at most ``limit``; with ``types`` only those of these types."""
    query = select(events).where(events.c.job_id == job_id, events.c.seq > after).order_by(events.c.seq).limit(limit)
    if types is not None:
        query = query.where(events.c.type.in_(types))
        if "metric" not in types:  # by the index: most events of a long job are metrics
            query = query.where(events.c.kind.is_(None))
    return [JobEvent.of(row) for row in connection.execute(query)]


def read_back(connection: Connection, job_id: str, *, before: int | None = None, limit: int = 100) -> list[JobEvent]:
    """The events with a seq below ``before``, the newest first, at most ``limit``."""
    query = select(events).where(events.c.job_id == job_id)
    if before is not None:
        query = query.where(events.c.seq < before)
    return [JobEvent.of(row) for row in connection.execute(query.order_by(events.c.seq.desc()).limit(limit))]


def last_state(connection: Connection, job_id: str, epoch: int) -> dict[str, Any]:
    """The data of the newest ``state`` event that the attempt with this epoch wrote; empty if there is none."""
    query = (
        select(events.c.data)
        .where(events.c.job_id == job_id, events.c.epoch == epoch, events.c.type == "state")
        .order_by(events.c.seq.desc())
        .limit(1)
    )
    return dict(connection.execute(query).scalar_one_or_none() or {})


def last_lines(connection: Connection, job_id: str) -> list[str]:
    """What a job logged last, the newest line at the end. Looks at its newest events only."""
    first = select(jobs.c.next_seq - _SEARCHED).where(jobs.c.id == job_id).scalar_subquery()
    query = (
        select(events.c.data)
        .where(events.c.job_id == job_id, events.c.seq >= first, events.c.type.in_(["log", "warning"]))
        .order_by(events.c.seq.desc())
        .limit(_LINES)
    )
    return [str(data.get("message", "")) for data in connection.scalars(query)][::-1]


def tip(connection: Connection, job_id: str) -> tuple[int, JobState]:
    """The seq of the newest event of a job that is there, and the state of the job."""
    row = connection.execute(select(jobs.c.next_seq, jobs.c.state).where(jobs.c.id == job_id)).one()
    return int(row.next_seq) - 1, JobState(row.state)


def last_seq(connection: Connection, job_id: str, *, organisation: str | None = None) -> int:
    """The seq of the newest event.

    Raises:
        NotFoundError: there is no such job, or it is another organisation's.
    """
    query = select(jobs.c.next_seq).where(jobs.c.id == job_id, within(jobs, organisation))
    next_seq = connection.execute(query).scalar_one_or_none()
    if next_seq is None:
        raise NotFoundError("job", job_id)
    return int(next_seq) - 1


def held(job_id: str, epoch: int) -> ColumnElement[bool]:
    """The condition that every write of an attempt carries: this job, this epoch, still in a worker's hands."""
    return (jobs.c.id == job_id) & (jobs.c.lease_epoch == epoch) & jobs.c.state.in_(sorted(ACTIVE))


def clean(value: Any) -> Any:
    """Make a value fit for JSON columns everywhere: no NaN or infinity (null instead), no NUL in strings."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\x00", "\N{REPLACEMENT CHARACTER}") if "\x00" in value else value
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value
