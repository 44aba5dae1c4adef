"""Checkpoints of a job: rows that name stored files, the newest few kept, and the best one where that is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from jobs import blob_rows, events
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
    keep_best: bool = False,
    details: Mapping[str, Any] | None = None,
) -> list[str]:
    """Add a checkpoint and its event, and drop what is not kept. Progress was made: failures count from 0.

    Kept are the ``keep`` newest; with ``keep_best`` also the newest whose ``details`` say ``best``.

    Returns the digests that were dropped, for ``Store.collect`` after the commit.

    Raises:
        LeaseLostError: the attempt does not hold the job any more. Nothing was written.
        BlobMissingError: the file was collected in between; store it again.
    """
    data = {"step": step, "sha256": blob.sha256, "size": blob.size, **(details or {})}
    events.append(connection, job_id, epoch, [("checkpoint", data)], values={"failures": 0})
    blob_rows.register(connection, store, blob)
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
    kept = list_checkpoints(connection, job_id)
    old = kept[keep:]
    if keep_best and (best := next((row for row in kept if row.details.get("best")), None)) is not None:
        old = [row for row in old if row.id != best.id]
    if old:
        connection.execute(delete(checkpoints).where(checkpoints.c.id.in_([row.id for row in old])))
    return [sha for sha in [*dropped, *(row.sha256 for row in old)] if sha != blob.sha256]


def list_checkpoints(connection: Connection, job_id: str) -> list[Checkpoint]:
    """The checkpoints that are kept of a job, newest first."""
    query = select(checkpoints).where(checkpoints.c.job_id == job_id).order_by(checkpoints.c.step.desc())
    return [Checkpoint.of(row) for row in connection.execute(query)]


def discard(connection: Connection, epoch: int, checkpoint: Checkpoint, reason: str) -> list[str]:
    """Forget a checkpoint whose file proved unusable, and say so in the job's log.

    Returns its digest for ``Store.collect`` after the commit.

    Raises:
        LeaseLostError: the attempt does not hold the job any more. Nothing was written.
    """
    message = f"the checkpoint of step {checkpoint.step} cannot be used and was dropped ({reason})"
    data = {"code": "checkpoint_damaged", "message": message, "step": checkpoint.step, "sha256": checkpoint.sha256}
    events.append(connection, checkpoint.job_id, epoch, [("warning", data)])
    connection.execute(delete(checkpoints).where(checkpoints.c.id == checkpoint.id))
    return [checkpoint.sha256]
