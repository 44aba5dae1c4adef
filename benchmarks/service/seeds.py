"""Jobs in the store without the API: many at once, each as the domain would have made it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import insert, select, update

from jobs import events as log
from jobs import jobs as domain
from jobs import keys
from jobs.ids import new_id
from jobs.spec import JobSpec
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import events, jobs

_EPOCH = 1
SPEC: dict[str, Any] = {
    "dataset": "digits",
    "architecture": {"name": "resnet18", "width": 0.25, "image_size": 16, "channels": 1},
    "method": {"name": "fqt", "bits": 4},
    "training": {"epochs": 10, "batch_size": 64},
}


def new_keys(store: Store, count: int) -> list[str]:
    """The ids of so many new API keys."""
    with store.write() as connection:
        return [
            keys.create(connection, store.key_secret, name=f"user {number}", scopes=["write"])[0].id
            for number in range(count)
        ]


def fill(store: Store, count: int, owners: Sequence[str], **changes: Any) -> list[str]:
    """Make so many jobs, shared out among the keys; ``changes`` are set in each row. Returns their ids."""
    with store.write() as connection:
        first = domain.create(connection, JobSpec.model_validate(SPEC), created_by=owners[0])
        row = dict(connection.execute(select(jobs).where(jobs.c.id == first.id)).mappings().one())
        event = dict(connection.execute(select(events).where(events.c.job_id == first.id)).mappings().one())
        domain.request_cancel(connection, first.id)
        domain.remove(connection, first.id)
        ids = [new_id("job") for _ in range(count)]
        rows = [row | changes | {"id": job, "created_by": owners[at % len(owners)]} for at, job in enumerate(ids)]
        connection.execute(insert(jobs), rows)
        connection.execute(insert(events), [event | {"job_id": job} for job in ids])
    return ids


def running_jobs(store: Store, count: int) -> list[str]:
    """Make so many jobs that run, all of one new key, with a lease that outlasts any measurement; return their ids."""
    ids = fill(store, count, new_keys(store, 1), state="running", lease_epoch=_EPOCH)
    with store.write() as connection:  # so that the reaper leaves them alone
        connection.execute(update(jobs).where(jobs.c.id.in_(ids)).values(lease_expires_at=now(3600)))
    return ids


def write_line(store: Store, job_id: str) -> None:
    """Write one event of a running job as its worker does; ``sent`` in it is when that began."""
    data = {"level": "info", "message": "a line", "sent": time.time()}
    with store.write() as connection:
        log.append(connection, job_id, _EPOCH, [("log", data)])
