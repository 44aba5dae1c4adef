"""Workers without training: each job reports figures that follow from its parameters alone."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from jobs import events, lease, sweeps
from jobs.records import Sweep, Trial
from jobs.states import JobState
from jobs.store import Store
from jobs.sweep_spec import SweepSpec
from jobs.tables import DEFAULT_ORGANISATION
from jobs.tables import jobs as table
from tests.jobs.helpers import TINY, get

BEST_RATE = 0.01


class Silence:
    """A doorbell that nobody hears."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring_job(self, job_id: str, queue: str) -> None:
        self.rung.append(job_id)


def spec(**changes: Any) -> SweepSpec:
    """Learning rates of a tiny job, by TPE."""
    space = {"training.learning_rate": {"type": "log_uniform", "low": 1e-4, "high": 1.0}}
    return SweepSpec.model_validate({"base": TINY, "space": space, "max_jobs": 4} | changes)


def create(store: Store, created_by: str | None = None, **changes: Any) -> Sweep:
    with store.write() as connection:
        return sweeps.create(connection, spec(**changes), organisation=DEFAULT_ORGANISATION, created_by=created_by)


def look(store: Store, sweep: Sweep) -> tuple[Sweep, list[Trial]]:
    with store.read() as connection:
        found = sweeps.get(connection, sweep.id, organisation=DEFAULT_ORGANISATION)
        return found, sweeps.list_trials(connection, [sweep.id])[sweep.id]


def accuracy(rate: float, epoch: int) -> float:
    """Of a job with this learning rate after so many epochs: best at 0.01, and rising."""
    return epoch / 10 / (1 + abs(rate / BEST_RATE - 1))


def claim(store: Store, job_id: str) -> int:
    """Take a job as a worker; its lease epoch."""
    with store.write() as connection:
        job = lease.claim(connection, ["cpu"], "test", 60, job_id=job_id)
    assert job is not None
    return job.lease_epoch


def report(store: Store, job_id: str, epoch: int, lease_epoch: int) -> None:
    """Say what the job has come to after this epoch of training."""
    value = accuracy(get(store, job_id).spec.training.learning_rate, epoch)
    data = {"kind": "epoch", "epoch": epoch, "step": epoch * 10, "best": True, "validation_accuracy": value}
    with store.write() as connection:
        events.append(connection, job_id, lease_epoch, [("metric", data)])


def work(store: Store, epochs: int = 2) -> int:
    """Bring every job that waits, or was asked to stop, to its end; return how many."""
    with store.read() as connection:
        query = select(table.c.id, table.c.state, table.c.lease_epoch).order_by(table.c.created_at, table.c.id)
        rows = connection.execute(query.where(table.c.state.in_(["queued", "cancelling"]))).all()
    for row in rows:
        if row.state == "cancelling":
            with store.write() as connection:
                lease.release(connection, row.id, row.lease_epoch, reason="stopped")
            continue
        epoch = claim(store, row.id)
        for number in range(1, epochs + 1):
            report(store, row.id, number, epoch)
        with store.write() as connection:
            lease.succeed(connection, row.id, epoch, {})
    return len(rows)


def states(store: Store) -> list[JobState]:
    """Of all jobs."""
    with store.read() as connection:
        return [JobState(state) for state in connection.scalars(select(table.c.state).order_by(table.c.id))]
