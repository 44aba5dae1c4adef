"""Changing the state of a job: :func:`move` is the only way.

The event goes with it in the same transaction, and so does what webhooks are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from jobs import deliveries, events
from jobs.errors import IllegalMoveError, LeaseLostError, NotFoundError
from jobs.records import Job
from jobs.sqltypes import now
from jobs.states import ACTIVE, LEGAL, JobState
from jobs.tables import jobs, webhooks
from jobs.webhooks import OF_STATE

# Whether anybody wants to hear of the job's organisation at all: asked with the first statement, at no round trip.
_HEARD = select(webhooks.c.id).where(deliveries.wanted_by(jobs.c.organisation_id)).limit(1).scalar_subquery()


def move(
    connection: Connection,
    job_id: str,
    to: JobState,
    *,
    epoch: int | None = None,
    reason: str | None = None,
    data: Mapping[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
    where: ColumnElement[bool] | None = None,
) -> Job | None:
    """Take a job to another state and append the ``state`` event; return the job as it is now.

    Args:
        epoch: the caller's lease epoch; ``None`` where no lease is needed (what a user asks for, the reaper).
        reason: a word for people and programs, kept in the event.
        data: more for the event.
        values: further columns to set in the same statement.
        where: a further condition on the row; if it does not hold, nothing happens and ``None`` is returned.

    Raises:
        NotFoundError: there is no such job.
        LeaseLostError: the caller's attempt does not hold the job any more.
        IllegalMoveError: the table of moves does not have this one.
    """
    # The row is locked (PostgreSQL) or the whole database is (SQLite), so what is read here still holds below; the
    # UPDATE repeats every condition all the same.
    row = connection.execute(
        select(
            jobs.c.state,
            jobs.c.lease_epoch,
            jobs.c.claimed_at,
            jobs.c.ran_seconds,
            now().label("instant"),
            _HEARD.label("heard"),
        )
        .where(jobs.c.id == job_id)
        .with_for_update(of=jobs)
    ).one_or_none()
    if row is None:
        raise NotFoundError("job", job_id)
    source = JobState(row.state)
    if epoch is not None and (row.lease_epoch != epoch or source not in ACTIVE):
        raise LeaseLostError(job_id, epoch)
    if to not in LEGAL[source]:
        raise IllegalMoveError(job_id, source, to)

    changes: dict[str, Any] = {"state": to.value, "next_seq": jobs.c.next_seq + 1}
    if to not in ACTIVE:
        changes |= {"lease_owner": None, "lease_expires_at": None}
        if source in ACTIVE and row.claimed_at is not None:
            changes["ran_seconds"] = row.ran_seconds + max(0.0, (row.instant - row.claimed_at).total_seconds())
    if not LEGAL[to]:
        changes["finished_at"] = now()
    if to is JobState.RUNNING:
        changes |= {"started_at": func.coalesce(jobs.c.started_at, now()), "claimed_at": now()}
    changes |= {key: events.clean(value) for key, value in (values or {}).items()}

    statement = update(jobs).where(
        jobs.c.id == job_id, jobs.c.state == source.value, jobs.c.lease_epoch == row.lease_epoch
    )
    if where is not None:
        statement = statement.where(where)
    changed = connection.execute(statement.values(**changes).returning(jobs)).one_or_none()
    if changed is None:
        return None
    job = Job.of(changed)
    event: dict[str, Any] = {"from": source.value, "to": to.value, "reason": reason, **(data or {})}
    events.insert_rows(connection, job_id, job.lease_epoch, job.next_seq - 1, [("state", event)])
    if row.heard is not None and to in OF_STATE:
        deliveries.publish(connection, job.organisation_id, OF_STATE[to], _told(job, reason))
    return job


def _told(job: Job, reason: str | None) -> dict[str, Any]:
    """What webhooks are told of a job. ``seq`` is that of the event: receivers put messages in order by it."""
    error = job.error or {}
    return {
        "id": job.id,
        "name": job.name,
        "state": job.state.value,
        "reason": reason,
        "seq": job.next_seq - 1,
        "attempt": job.lease_epoch,
        "error": {name: error.get(name) for name in ("code", "message", "param")} if error else None,
    }
