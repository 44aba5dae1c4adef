"""Result files of a job: rows that name stored files, written under the lease of the attempt that made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from jobs import blob_rows, events
from jobs.blobs import Blob, BlobStore
from jobs.errors import NotFoundError
from jobs.ids import new_id
from jobs.records import Artifact
from jobs.sqltypes import now
from jobs.tables import artifacts


def add(
    connection: Connection,
    store: BlobStore,
    job_id: str,
    epoch: int,
    blob: Blob,
    *,
    name: str,
    kind: str,
    details: Mapping[str, Any] | None = None,
) -> list[str]:
    """Add a result file and its event. One of the same name from an earlier attempt is replaced.

    Returns the digests that were replaced, for ``Store.collect`` after the commit.

    Raises:
        LeaseLostError: the attempt does not hold the job any more. Nothing was written.
        BlobMissingError: the file was collected in between; store it again.
    """
    data = {"name": name, "kind": kind, "sha256": blob.sha256, "size": blob.size, "details": dict(details or {})}
    events.append(connection, job_id, epoch, [("artifact", data)])
    blob_rows.register(connection, store, blob)
    same = (artifacts.c.job_id == job_id) & (artifacts.c.name == name)
    replaced = [sha for sha in connection.scalars(select(artifacts.c.sha256).where(same)) if sha != blob.sha256]
    connection.execute(delete(artifacts).where(same))
    connection.execute(
        insert(artifacts).values(
            id=new_id("art"),
            job_id=job_id,
            name=name,
            kind=kind,
            sha256=blob.sha256,
            size=blob.size,
            epoch=epoch,
            details=events.clean(details or {}),
            created_at=now(),
        )
    )
    return replaced


def list_artifacts(connection: Connection, job_id: str) -> list[Artifact]:
    """The result files of a job, by name."""
    query = select(artifacts).where(artifacts.c.job_id == job_id).order_by(artifacts.c.name)
    return [Artifact.of(row) for row in connection.execute(query)]


def get(connection: Connection, job_id: str, name: str) -> Artifact:
    """The result file of this name.

    Raises:
        NotFoundError: the job has none.
    """
    query = select(artifacts).where(artifacts.c.job_id == job_id, artifacts.c.name == name)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFoundError("artifact", name)
    return Artifact.of(row)
