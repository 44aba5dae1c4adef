"""Who may work on a job: claiming, renewing and taking back leases, on the database's clock.

Each claim raises ``lease_epoch`` by one, and every later write of the attempt names its epoch; an attempt that was
given up on writes nothing any more, however late it wakes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select, update

from jobs import events
from jobs.errors import IllegalMoveError, LeaseLostError
from jobs.moves import move
from jobs.queues import Next, claimable, next_job
from jobs.records import Job
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.states import ACTIVE, JobState
from jobs.tables import jobs

_CLAIM_TRIES = 20
_LONGEST_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True)
class RetryPolicy:
    """How often a job is tried again. ``max_attempts`` counts failed attempts in a row without a new checkpoint."""

    max_attempts: int
    backoff_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        """The policy of the settings."""
        return cls(settings.max_attempts, settings.retry_backoff_seconds)

    def delay(self, failures: int) -> float:
        """Longest wait in seconds after so many failures in a row: none after the first, then doubling."""
        return min(self.backoff_seconds * (2.0 ** (failures - 1) - 1), _LONGEST_BACKOFF_SECONDS)

    def jittered(self, failures: int) -> float:
        """A wait between half of :meth:`delay` and all of it: jobs that failed together do not come back together."""
        return self.delay(failures) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def claim(
    connection: Connection,
    queues: Sequence[str],
    owner: str,
    lease_seconds: float,
    *,
    job_id: str | None = None,
    record: Mapping[str, Any] | None = None,
    max_running: int | None = None,
) -> Job | None:
    """Take the next queued job of these queues or of ``auto``, or the given one; ``None`` if there is none.

    Args:
        queues: the names of the worker's queues.
        owner: who takes it, for people: host, process and slot.
        lease_seconds: how long the lease lasts unless it is renewed.
        job_id: take this job and no other, whosever turn it is.
        record: what is known of the attempt before it begins (threads, worker); replaces ``job.record``.
        max_running: jobs of one key that may run at the same time, for keys without a number of their own.
    """
    for _ in range(_CLAIM_TRIES):
        if job_id is None:
            found = next_job(connection, queues, max_running=max_running)
        else:
            found = _if_claimable(connection, queues, job_id)
        if found is None:
            return None
        attempt = found.lease_epoch + 1
        values = {
            "lease_epoch": attempt,
            "lease_owner": owner,
            "lease_expires_at": now(lease_seconds),
            "not_before": None,
            "record": {"attempt": attempt, "worker": owner, **(record or {})},
        }
        unchanged = claimable(queues) & (jobs.c.lease_epoch == found.lease_epoch)
        try:
            job = move(
                connection,
                found.id,
                JobState.RUNNING,
                reason="claimed",
                data={"attempt": attempt, "worker": owner},
                values=values,
                where=unchanged,
            )
        except IllegalMoveError:  # another worker was faster: look again
            continue
        if job is not None:
            return job
    return None


def heartbeat(connection: Connection, job_id: str, epoch: int, lease_seconds: float) -> JobState:
    """Renew the lease; return the state, which tells whether the job was asked to stop.

    Raises:
        LeaseLostError: the attempt does not hold the job any more.
    """
    state = connection.execute(
        update(jobs)
        .where(events.held(job_id, epoch))
        .values(lease_expires_at=now(lease_seconds))
        .returning(jobs.c.state)
    ).scalar_one_or_none()
    if state is None:
        raise LeaseLostError(job_id, epoch)
    return JobState(state)


def look(connection: Connection, job_id: str, epoch: int) -> JobState:
    """The state of a held job, without renewing anything.

    Raises:
        LeaseLostError: the attempt does not hold the job any more.
    """
    state = connection.execute(select(jobs.c.state).where(events.held(job_id, epoch))).scalar_one_or_none()
    if state is None:
        raise LeaseLostError(job_id, epoch)
    return JobState(state)


def release(connection: Connection, job_id: str, epoch: int, *, reason: str) -> Job:
    """Give a job back that this attempt stopped at a checkpoint: to the queue, or to where it was asked to go.

    Raises:
        LeaseLostError: the attempt does not hold the job any more.
    """
    state = _lock(connection, job_id, epoch)
    job = move(connection, job_id, _REST[state], epoch=epoch, reason=reason)
    if job is None:
        raise LeaseLostError(job_id, epoch)
    return job


def attempt_failed(
    connection: Connection,
    job_id: str,
    epoch: int,
    error: Mapping[str, Any],
    policy: RetryPolicy,
    *,
    where: ColumnElement[bool] | None = None,
) -> Job | None:
    """An attempt broke down in a way that may not happen again: queue the job once more, or fail it for good.

    ``error`` is ``{code, message, param, …}``; it becomes the job's error when the attempts are used up, and is in the
    event otherwise. Where it has no ``log``, the last lines of the job's own log are added. A job that was asked to
    stop goes where it was asked to go. ``where`` is a further condition; if it does not hold, nothing happens and
    ``None`` is returned.

    Raises:
        LeaseLostError: the attempt does not hold the job any more.
    """
    state = _lock(connection, job_id, epoch)
    failures = connection.execute(select(jobs.c.failures).where(jobs.c.id == job_id)).scalar_one() + 1
    target, reason = _REST[state], str(error.get("code", "attempt_failed"))
    error = {"log": events.last_lines(connection, job_id), **error}
    values: dict[str, Any] = {"failures": failures}
    if target is JobState.QUEUED and failures >= policy.max_attempts:
        target = JobState.FAILED
        values["error"] = {**error, "attempts": epoch}
    elif target is JobState.QUEUED:
        values["not_before"] = now(policy.jittered(failures))
    return move(
        connection, job_id, target, epoch=epoch, reason=reason, data={"error": error}, values=values, where=where
    )


def fail(connection: Connection, job_id: str, epoch: int, error: Mapping[str, Any]) -> Job:
    """End a job that cannot succeed however often it is tried; ``error`` is ``{code, message, param, …}``.

    Raises:
        LeaseLostError: the attempt does not hold the job any more.
    """
    state = _lock(connection, job_id, epoch)
    target = JobState.CANCELLED if state is JobState.CANCELLING else JobState.FAILED
    values = {"error": {**error, "attempts": epoch}} if target is JobState.FAILED else None
    job = move(connection, job_id, target, epoch=epoch, reason=str(error["code"]), values=values)
    if job is None:
        raise LeaseLostError(job_id, epoch)
    return job


def succeed(connection: Connection, job_id: str, epoch: int, result: Mapping[str, Any]) -> Job:
    """End a job with its result.

    Raises:
        LeaseLostError: the attempt does not hold the job any more.
    """
    job = move(connection, job_id, JobState.SUCCEEDED, epoch=epoch, reason="finished", values={"result": dict(result)})
    if job is None:
        raise LeaseLostError(job_id, epoch)
    return job


def expired(connection: Connection, limit: int = 100) -> list[tuple[str, int]]:
    """Job ids and epochs whose lease ran out, oldest first. A lease without an end counts as run out."""
    return [(row.id, row.lease_epoch) for row in connection.execute(_expired(limit))]


@cache
def _expired(limit: int) -> Select[str, int]:
    lapsing = select(jobs.c.id, jobs.c.lease_epoch).where(jobs.c.state.in_(sorted(ACTIVE)), lapsed())
    return lapsing.order_by(jobs.c.lease_expires_at).limit(limit)


def lapsed() -> ColumnElement[bool]:
    """The condition that a lease has run out by the database's clock."""
    return or_(jobs.c.lease_expires_at.is_(None), jobs.c.lease_expires_at < now())


# Where an attempt that ends without a result leaves its job, by the state that it finds it in.
_REST = {
    JobState.RUNNING: JobState.QUEUED,
    JobState.PAUSING: JobState.PAUSED,
    JobState.CANCELLING: JobState.CANCELLED,
}


def _if_claimable(connection: Connection, queues: Sequence[str], job_id: str) -> Next | None:
    query = select(jobs.c.id, jobs.c.lease_epoch).where(claimable(queues), jobs.c.id == job_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else Next(row.id, row.lease_epoch)


def _lock(connection: Connection, job_id: str, epoch: int) -> JobState:
    """The state of a held job, which cannot change until the transaction ends."""
    query = select(jobs.c.state).where(events.held(job_id, epoch)).with_for_update()
    state = connection.execute(query).scalar_one_or_none()
    if state is None:
        raise LeaseLostError(job_id, epoch)
    return JobState(state)
