"""Figures of the whole service, read from the database: what waits, runs and fails, whoever does the work.

They are sums over what is kept, so that any process can tell them, and none has to be asked for its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from jobs import deliveries, jobs
from jobs.deliveries import DeliveryState
from jobs.queues import due
from jobs.records import DatasetState
from jobs.sqltypes import now
from jobs.states import ACTIVE, JobState
from jobs.tables import blobs, datasets, webhooks
from jobs.tables import jobs as table


@dataclass(frozen=True)
class Running:
    """The jobs of one queue that a worker holds: their training images per second, and mean seconds of a step."""

    jobs: int
    images_per_second: float
    step_seconds: float | None


@dataclass(frozen=True)
class Figures:
    """One look at the service. Ages are in seconds, by the database's clock."""

    jobs: Mapping[JobState, int]
    oldest: Mapping[JobState, float]
    queued: Mapping[str, int]
    queued_oldest: Mapping[str, float]
    claims: int
    failed_attempts: int
    failures: Mapping[str, int]
    running: Mapping[str, Running]
    datasets: Mapping[DatasetState, int]
    stored_bytes: int
    deliveries: Mapping[DeliveryState, int]
    webhooks_disabled: int


def read(connection: Connection) -> Figures:
    """Look at the service."""
    queued = connection.execute(
        select(table.c.queue, func.count(), func.min(table.c.created_at), now()).where(due()).group_by(table.c.queue)
    ).all()
    oldest = connection.execute(
        select(table.c.state, func.min(table.c.created_at), now())
        .where(table.c.state.in_([state.value for state in JobState if not state.terminal]))
        .group_by(table.c.state)
    ).all()
    claims, failed_attempts = connection.execute(
        select(func.coalesce(func.sum(table.c.lease_epoch), 0), func.coalesce(func.sum(table.c.failures), 0))
    ).one()
    return Figures(
        jobs=jobs.counts(connection),
        oldest={JobState(row[0]): (row[2] - row[1]).total_seconds() for row in oldest},
        queued={row[0]: row[1] for row in queued},
        queued_oldest={row[0]: (row[3] - row[2]).total_seconds() for row in queued},
        claims=int(claims),
        failed_attempts=int(failed_attempts),
        failures=_failures(connection),
        running=_running(connection),
        datasets=_datasets(connection),
        stored_bytes=int(connection.execute(select(func.coalesce(func.sum(blobs.c.size), 0))).scalar_one()),
        deliveries=deliveries.counts(connection),
        webhooks_disabled=connection.execute(
            select(func.count()).select_from(webhooks).where(webhooks.c.disabled_at.is_not(None))
        ).scalar_one(),
    )


def _failures(connection: Connection) -> dict[str, int]:
    code = table.c.error["code"].as_string()
    query = select(code, func.count()).where(table.c.state == JobState.FAILED.value).group_by(code)
    return {str(row[0]): row[1] for row in connection.execute(query)}


def _running(connection: Connection) -> dict[str, Running]:
    """By queue. There are as many as workers have slots, so they are read one by one."""
    query = select(table.c.queue, table.c.spec, table.c.progress).where(table.c.state.in_(sorted(ACTIVE)))
    found: dict[str, list[tuple[float, int]]] = {}
    for queue, spec, progress in connection.execute(query):
        found.setdefault(queue, []).append(_speed(spec, progress or {}))
    return {queue: _sum(list(speeds)) for queue, speeds in found.items()}


def _speed(spec: Mapping[str, Any], progress: Mapping[str, Any]) -> tuple[float, int]:
    return float(progress.get("images_per_second") or 0), int(spec["training"]["batch_size"])


def _sum(speeds: list[tuple[float, int]]) -> Running:
    seconds = list(_step_seconds(speeds))
    mean = sum(seconds) / len(seconds) if seconds else None
    return Running(len(speeds), sum(speed for speed, _ in speeds), mean)


def _step_seconds(speeds: list[tuple[float, int]]) -> Iterator[float]:
    return (batch / speed for speed, batch in speeds if speed > 0)


def _datasets(connection: Connection) -> dict[DatasetState, int]:
    found: dict[DatasetState, int] = {"checking": 0, "ready": 0, "invalid": 0}
    rows = connection.execute(select(datasets.c.state, func.count()).group_by(datasets.c.state))
    return found | {row[0]: row[1] for row in rows}
