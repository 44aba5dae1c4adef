"""Sweeps as a resource: create, read, cancel, delete, and the lease of who takes the next step.

The steps themselves are :mod:`jobs.sweep_driver`'s. A sweep's jobs are jobs like others, of the key that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, insert, or_, select, update

from jobs import jobs
from jobs.errors import IllegalMoveError, LeaseLostError, NotFoundError, SweepEndedError, SweepNotFinishedError
from jobs.ids import new_id
from jobs.organisations import within
from jobs.records import Page, Sweep, Trial
from jobs.sqltypes import now
from jobs.sweep_spec import SweepSpec
from jobs.tables import jobs as job_table
from jobs.tables import sweeps, trials

LEASE_SECONDS = 30.0


def create(
    connection: Connection,
    spec: SweepSpec,
    *,
    organisation: str,
    created_by: str | None = None,
    request_id: str | None = None,
) -> Sweep:
    """Accept a sweep, whose spec was checked; its jobs are made by whoever takes its next step."""
    values = {
        "id": new_id("swp"),
        "organisation_id": organisation,
        "name": spec.name,
        "state": "running",
        "spec": spec.model_dump(mode="json"),
        "created_by": created_by,
        "request_id": request_id,
        "lease_epoch": 0,
        "created_at": now(),
    }
    return Sweep.of(connection.execute(insert(sweeps).values(values).returning(sweeps)).one())


def get(connection: Connection, sweep_id: str, *, organisation: str) -> Sweep:
    """The sweep.

    Raises:
        NotFoundError: the organisation has no such sweep.
    """
    return Sweep.of(_row(connection, sweep_id, organisation, lock=False))


def list_sweeps(connection: Connection, *, organisation: str, after: str | None = None, limit: int = 50) -> Page[Sweep]:
    """Sweeps of an organisation, newest first, those before the one with id ``after``."""
    query = select(sweeps).where(within(sweeps, organisation)).order_by(sweeps.c.id.desc())
    if after is not None:
        query = query.where(sweeps.c.id < after)
    rows = connection.execute(query.limit(limit + 1)).all()
    return Page([Sweep.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


def list_trials(connection: Connection, sweep_ids: Sequence[str]) -> dict[str, list[Trial]]:
    """The trials of sweeps, by number, each with the state of its job."""
    query = (
        select(trials, job_table.c.state.label("job_state"))
        .select_from(trials.outerjoin(job_table, job_table.c.id == trials.c.job_id))
        .where(trials.c.sweep_id.in_(sweep_ids))
        .order_by(trials.c.sweep_id, trials.c.number)
    )
    found: dict[str, list[Trial]] = {sweep_id: [] for sweep_id in sweep_ids}
    for row in connection.execute(query):
        found[row.sweep_id].append(Trial.of(row))
    return found


def job_ids(connection: Connection, sweep_id: str, *, organisation: str) -> list[str]:
    """Ids of a sweep's jobs that are still there, in the order of their making.

    Raises:
        NotFoundError: the organisation has no such sweep.
    """
    get(connection, sweep_id, organisation=organisation)
    query = select(trials.c.job_id).where(trials.c.sweep_id == sweep_id, trials.c.job_id.is_not(None))
    return [str(job_id) for job_id in connection.scalars(query.order_by(trials.c.number))]


def request_cancel(connection: Connection, sweep_id: str, *, organisation: str) -> Sweep:
    """End a sweep, and cancel its jobs that have not ended. Cancelling what is cancelled is no error.

    Raises:
        NotFoundError: the organisation has no such sweep.
        SweepEndedError: it has ended otherwise.
    """
    row = _row(connection, sweep_id, organisation, lock=True)
    if row.state == "cancelled":
        return Sweep.of(row)
    if row.state != "running":
        raise SweepEndedError(sweep_id, row.state)
    return end(connection, sweep_id, "cancelled", {"code": "requested", "message": "cancelled on request"})


def remove(connection: Connection, sweep_id: str, *, organisation: str) -> None:
    """Delete a sweep that has ended. Its jobs stay.

    Raises:
        NotFoundError: the organisation has no such sweep.
        SweepNotFinishedError: it has not ended.
    """
    row = _row(connection, sweep_id, organisation, lock=True)
    if row.state == "running":
        raise SweepNotFinishedError(sweep_id)
    connection.execute(delete(sweeps).where(sweeps.c.id == sweep_id))


def running(connection: Connection, limit: int = 100) -> list[Sweep]:
    """Sweeps that go on and that nobody works on, those that were worked on longest ago first."""
    return [Sweep.of(row) for row in connection.execute(_running(limit))]


@cache
def _running(limit: int) -> Select[Any]:
    free = or_(sweeps.c.lease_expires_at.is_(None), sweeps.c.lease_expires_at < now())
    query = select(sweeps).where(sweeps.c.state == "running", free)
    return query.order_by(sweeps.c.lease_expires_at.nulls_first(), sweeps.c.id).limit(limit)


def claim(connection: Connection, sweep_id: str) -> Sweep | None:
    """Take the lease of a sweep that goes on; ``None``: another process has it. Each claim raises ``lease_epoch``."""
    free = or_(sweeps.c.lease_expires_at.is_(None), sweeps.c.lease_expires_at < now())
    row = connection.execute(
        update(sweeps)
        .where(sweeps.c.id == sweep_id, sweeps.c.state == "running", free)
        .values(lease_epoch=sweeps.c.lease_epoch + 1, lease_expires_at=now(LEASE_SECONDS))
        .returning(sweeps)
    ).one_or_none()
    return None if row is None else Sweep.of(row)


def renew(connection: Connection, sweep: Sweep) -> None:
    """What every transaction of a step begins with: renew the lease, and lock the sweep until the commit.

    Raises:
        LeaseLostError: the sweep was taken over, or has ended. Nothing may be written.
    """
    statement = update(sweeps).where(_held(sweep)).values(lease_expires_at=now(LEASE_SECONDS))
    if connection.execute(statement).rowcount != 1:
        raise LeaseLostError(sweep.id, sweep.lease_epoch)


def release(connection: Connection, sweep: Sweep) -> None:
    """Give the lease back, if it is held still."""
    connection.execute(update(sweeps).where(_held(sweep)).values(lease_expires_at=now()))


def end(connection: Connection, sweep_id: str, state: str, reason: Mapping[str, Any] | None = None) -> Sweep:
    """Put a sweep that goes on into its last state; its jobs that have not ended are cancelled.

    The caller has locked it.
    """
    for trial in list_trials(connection, [sweep_id])[sweep_id]:
        if trial.busy:
            cancel_job(connection, trial, reason=f"the sweep is {state}")
    going = and_(trials.c.sweep_id == sweep_id, trials.c.state == "running")
    connection.execute(
        update(trials).where(going).values(state="cancelled", reason=f"the sweep is {state}", finished_at=now())
    )
    statement = update(sweeps).where(sweeps.c.id == sweep_id)
    values = {"state": state, "reason": reason, "finished_at": now(), "lease_epoch": sweeps.c.lease_epoch + 1}
    return Sweep.of(connection.execute(statement.values(values).returning(sweeps)).one())


def cancel_job(connection: Connection, trial: Trial, *, reason: str) -> bool:
    """Cancel the job of a trial; ``False``: it has ended meanwhile, or is gone."""
    assert trial.job_id is not None, "a busy trial has a job"
    try:
        jobs.request_cancel(connection, trial.job_id, reason=reason)
    except (IllegalMoveError, NotFoundError):
        return False
    return True


def count_by_state(found: Sequence[Trial]) -> dict[str, int]:
    """How many trials are in each state."""
    counts = dict.fromkeys(("running", "succeeded", "pruned", "cancelled", "failed"), 0)
    for trial in found:
        counts[trial.state] += 1
    return counts


def best(spec: SweepSpec, found: Sequence[Trial]) -> Trial | None:
    """The trial with the best value, of equal ones the first; ``None``: none has come to its end."""
    ended = [trial for trial in found if trial.state == "succeeded" and trial.value is not None]
    sign = -1.0 if spec.maximizes else 1.0
    return min(ended, key=lambda trial: sign * (trial.value or 0.0), default=None)


def _held(sweep: Sweep) -> Any:
    return and_(sweeps.c.id == sweep.id, sweeps.c.lease_epoch == sweep.lease_epoch, sweeps.c.state == "running")


def _row(connection: Connection, sweep_id: str, organisation: str, *, lock: bool) -> Any:
    query = select(sweeps).where(sweeps.c.id == sweep_id, within(sweeps, organisation))
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError("sweep", sweep_id)
    return row
