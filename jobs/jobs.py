"""Creating, reading and steering jobs. What a worker does to them is in :mod:`jobs.lease` and :mod:`jobs.events`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, select
from sqlalchemy import insert as sql_insert

from jobs import events, validation
from jobs.errors import JobNotFinishedError, NotFoundError, QuotaExceededError, SpecFault
from jobs.ids import new_id
from jobs.moves import move
from jobs.organisations import within
from jobs.queues import queue_of
from jobs.records import Job, Page
from jobs.spec import JobSpec
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.tables import DEFAULT_ORGANISATION, artifacts, checkpoints, keys
from jobs.tables import jobs as table
from jobs.validation import UNBOUNDED, Bounds, Sources

# Statements that every submission needs are built once: that takes longer than what the database does with some.
_INSERT = sql_insert(table).values(created_at=now()).returning(table.c.organisation_id, table.c.created_at)
_KEY = select(keys.c.max_queued, keys.c.organisation_id).where(keys.c.id == bindparam("key_id"))
_WAITING = (
    select(func.count())
    .select_from(table)
    .where(
        table.c.created_by == bindparam("key_id"),
        table.c.state.in_((JobState.QUEUED.value, JobState.PAUSED.value)),
    )
)


def create(
    connection: Connection,
    spec: JobSpec,
    *,
    created_by: str | None = None,
    request_id: str | None = None,
    traceparent: str | None = None,
    labels: Mapping[str, str] | None = None,
    warnings: Sequence[SpecFault] = (),
    bounds: Bounds = UNBOUNDED,
    sources: Sources | None = None,
) -> Job:
    """Accept a job: it is queued when the transaction commits. Ring ``job.queue`` after the commit, not before.

    The job is the organisation's of the key that ``created_by`` names, and refers to what is that one's alone; without
    a key, it is the first organisation's. ``traceparent`` is the trace of the request (W3C), ``labels`` are its maker's
    own words for the job.
    ``warnings`` say what keeps it from running for now; they stand in its log. ``bounds`` are what the service allows.
    ``sources``: what :func:`jobs.validation.check` found in this transaction, if it was asked already.

    Raises:
        InvalidSpecError: the spec does not fit what the store holds; it has every fault.
        QuotaExceededError: as many jobs of the key wait already as may.
    """
    organisation = DEFAULT_ORGANISATION
    if created_by is not None:
        organisation = _admitted(connection, created_by, bounds.max_queued)
        bounds = replace(bounds, organisation=organisation)
    sources = sources or validation.check(connection, spec, bounds)
    job_id = new_id("job")
    columns: dict[str, Any] = {
        "id": job_id,
        "organisation_id": organisation,
        "name": spec.name,
        "state": JobState.QUEUED,
        "queue": queue_of(spec),
        "dataset_id": sources.dataset.id,
        "dataset_sha256": sources.dataset.sha256,
        "initial_weights_sha256": sources.initial_weights_sha256,
        "teacher_sha256": sources.teacher_sha256,
        "created_by": created_by,
        "request_id": request_id,
        "traceparent": traceparent,
        "labels": events.clean(labels),
        "lease_epoch": 0,
        "failures": 0,
        "next_seq": 2 + len(warnings),
    }
    row = connection.execute(
        _INSERT,
        {**columns, "state": JobState.QUEUED.value, "rank": -spec.priority, "spec": spec.model_dump(mode="json")},
    ).one()
    state = {"from": None, "to": JobState.QUEUED.value, "reason": "created"}
    told = [{"code": "cannot_run_now", "message": fault.message, "param": fault.field} for fault in warnings]
    events.insert_rows(connection, job_id, 0, 1, [("state", state), *(("warning", warning) for warning in told)])
    return Job(**columns, spec=spec, created_at=row.created_at)


def get(connection: Connection, job_id: str, *, organisation: str | None = None) -> Job:
    """The job. Here and below ``organisation`` is whose job it must be; ``None``: anybody's, as for workers.

    Raises:
        NotFoundError: there is no such job, or it is another organisation's.
    """
    row = connection.execute(select(table).where(table.c.id == job_id, within(table, organisation))).one_or_none()
    if row is None:
        raise NotFoundError("job", job_id)
    return Job.of(row)


def list_jobs(
    connection: Connection,
    *,
    after: str | None = None,
    limit: int = 50,
    states: Sequence[JobState] | None = None,
    organisation: str | None = None,
) -> Page[Job]:
    """Jobs, newest first, those before the one with id ``after``; of these states only, if any are given."""
    query = select(table).where(within(table, organisation)).order_by(table.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(table.c.id < after)
    if states:
        query = query.where(table.c.state.in_([state.value for state in states]))
    rows = connection.execute(query).all()
    return Page([Job.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


def counts(connection: Connection) -> dict[JobState, int]:
    """How many jobs are in each state."""
    rows = connection.execute(select(table.c.state, func.count()).group_by(table.c.state)).all()
    return dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in rows}


def request_cancel(
    connection: Connection, job_id: str, *, organisation: str | None = None, reason: str = "requested"
) -> Job:
    """Cancel a job: at once if no worker holds it, otherwise it is ``cancelling`` until its worker has stopped it.

    Cancelling what is cancelled or cancelling is no error and changes nothing.

    Raises:
        NotFoundError: there is no such job, or it is another organisation's.
        IllegalMoveError: the job has ended otherwise.
    """
    job = _locked(connection, job_id, organisation)
    if job.state in {JobState.CANCELLED, JobState.CANCELLING}:
        return job
    target = JobState.CANCELLING if job.state.active else JobState.CANCELLED
    return _moved(connection, job_id, target, reason)


def request_pause(
    connection: Connection, job_id: str, *, organisation: str | None = None, reason: str = "requested"
) -> Job:
    """Pause a job: at once if it is queued, otherwise it is ``pausing`` until its worker has reached a checkpoint.

    Pausing what is paused or pausing is no error and changes nothing.

    Raises:
        NotFoundError: there is no such job, or it is another organisation's.
        IllegalMoveError: the job has ended, or is being cancelled.
    """
    job = _locked(connection, job_id, organisation)
    if job.state in {JobState.PAUSED, JobState.PAUSING}:
        return job
    target = JobState.PAUSING if job.state is JobState.RUNNING else JobState.PAUSED
    return _moved(connection, job_id, target, reason)


def resume(connection: Connection, job_id: str, *, organisation: str | None = None, reason: str = "requested") -> Job:
    """Put a paused job back into the queue. Ring ``job.queue`` after the commit.

    Resuming what is queued or runs is no error and changes nothing.

    Raises:
        NotFoundError: there is no such job, or it is another organisation's.
        IllegalMoveError: the job has ended, or is not paused yet.
    """
    job = _locked(connection, job_id, organisation)
    if job.state in {JobState.QUEUED, JobState.RUNNING}:
        return job
    return _moved(connection, job_id, JobState.QUEUED, reason)


def remove(connection: Connection, job_id: str, *, organisation: str | None = None) -> list[str]:
    """Delete a job that has ended, with its log and files; return the digests for ``Store.collect`` after the commit.

    Raises:
        NotFoundError: there is no such job, or it is another organisation's.
        JobNotFinishedError: the job has not ended.
    """
    job = _locked(connection, job_id, organisation)
    if not job.state.terminal:
        raise JobNotFinishedError(job_id, job.state)
    digests = [
        sha256
        for files in (checkpoints, artifacts)
        for sha256 in connection.scalars(select(files.c.sha256).where(files.c.job_id == job_id))
    ]
    digests += [sha256 for sha256 in (job.initial_weights_sha256, job.teacher_sha256) if sha256 is not None]
    connection.execute(delete(table).where(table.c.id == job_id))
    return digests


def _admitted(connection: Connection, key_id: str, most: int | None) -> str:
    """Refuse one job too many; return the key's organisation.

    Requests of the very same moment do not see each other: this guards, no more.
    """
    key = connection.execute(_KEY, {"key_id": key_id}).one()
    limit = most if key.max_queued is None else key.max_queued
    if limit is not None and connection.execute(_WAITING, {"key_id": key_id}).scalar_one() >= limit:
        raise QuotaExceededError(limit)
    return str(key.organisation_id)


def _locked(connection: Connection, job_id: str, organisation: str | None) -> Job:
    query = select(table).where(table.c.id == job_id, within(table, organisation)).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("job", job_id)
    return Job.of(row)


def _moved(connection: Connection, job_id: str, to: JobState, reason: str) -> Job:
    job = move(connection, job_id, to, reason=reason)
    assert job is not None, "a move without a further condition either happens or raises"
    return job
