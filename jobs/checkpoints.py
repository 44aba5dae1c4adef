"""Checkpoints of a job: rows that name stored files, the newest few kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from jobs import blobs, events
from jobs.blobs import Blob, BlobStore
from jobs.ids import new_id
from jobs.records import Checkpoint
from jobs.sqltypes import now
from jobs.tables import checkpoints


def add(
    connection: Connection,
    store: BlobStore,
    job_id: str,
    epoch: int,
    blob: Blob,
    *,
    step: int,
    keep: int,
    details: Mapping[str, Any] | None = None,
) -> list[str]:
    """Add a checkpoint and its event, and drop all but the ``keep`` newest. Progress was made: failures count from 0.

    Returns the digests that were dropped, for ``Store.collect`` after the commit.

    Raises:
        LeaseLostError: the attempt does not hold the job any more. Nothing was written.
        BlobMissingError: the file was collected in between; store it again.
    """
    data = {"step": step, "sha256": blob.sha256, "size": blob.size, **(details or {})}
    events.append(connection, job_id, epoch, [("checkpoint", data)], values={"failures": 0})
    blobs.register(connection, store, blob)
    mine = checkpoints.c.job_id == job_id
    dropped = list(connection.scalars(select(checkpoints.c.sha256).where(mine, checkpoints.c.step >= step)))
    connection.execute(delete(checkpoints).where(mine, checkpoints.c.step >= step))
    connection.execute(
        insert(checkpoints).values(
            id=new_id("ckpt"),
            job_id=job_id,
            step=step,
            sha256=blob.sha256,
            size=blob.size,
            epoch=epoch,
            details=events.clean(details or {}),
            created_at=now(),
        )
    )
    old = connection.execute(
        select(checkpoints.c.id, checkpoints.c.sha256)
        .where(mine)
        .order_by(checkpoints.c.step.desc())
        .offset(keep)
        .limit(1000)
    ).all()
    if old:
        connection.execute(delete(checkpoints).where(checkpoints.c.id.in_([row.id for row in old])))
    return [sha for sha in [*dropped, *(row.sha256 for row in old)] if sha != blob.sha256]


def list_checkpoints(connection: Connection, job_id: str) -> list[Checkpoint]:
    """The checkpoints that are kept of a job, newest first."""
    query = select(checkpoints).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.step.desc())
    return [Checkpoint.of(row) for row in connection.execute(query)]


def discard(connection: Connection, checkpoint_id: str) -> None:
    """Forget a checkpoint whose file proved damaged."""
    connection.execute(delete(checkpoints).where(checkpoints.c.id == checkpoint_id))
