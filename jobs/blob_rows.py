"""The rows of stored files: which of them are in use.

A file comes first and its row (:func:`register`) second, in the transaction that refers to it; a file goes
(:func:`collect`) only when no row refers to it any more, in a transaction of its own after the one that removed the
last reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, select, update
from sqlalchemy.exc import IntegrityError

from jobs import database
from jobs.blobs import Blob, BlobStore
from jobs.errors import BlobMissingError
from jobs.sqltypes import now
from jobs.tables import artifacts, blobs, checkpoints, datasets, jobs, model_exports, models

_USERS = (
    datasets.c.sha256,
    datasets.c.thumbnails_sha256,
    checkpoints.c.sha256,
    artifacts.c.sha256,
    jobs.c.initial_weights_sha256,
    jobs.c.teacher_sha256,
    models.c.sha256,
    models.c.weights_sha256,
    model_exports.c.sha256,
)


def register(connection: Connection, store: BlobStore, blob: Blob) -> None:
    """Make the row of a stored file, before a row of the same transaction refers to it.

    Locks the row until the transaction ends, so that :func:`collect` cannot take the file away in between.

    Raises:
        BlobMissingError: the file was collected since it was stored; store it again.
    """
    statement = database.insert(connection, blobs).values(sha256=blob.sha256, size=blob.size, created_at=now())
    connection.execute(
        statement.on_conflict_do_update(index_elements=[blobs.c.sha256], set_={"created_at": now(), "size": blob.size})
    )
    if not store.exists(blob.sha256):
        raise BlobMissingError(blob.sha256)


def collect(connection: Connection, store: BlobStore, digests: Iterable[str]) -> int:
    """Remove those of the files that nothing refers to; return how many went.

    Call it in a transaction of its own: if that fails after a file went, only a row without references is left over.
    """
    removed = 0
    for sha256 in sorted(set(digests)):
        with suppress(IntegrityError), connection.begin_nested():  # a reference that came in just now wins
            # The update locks the row and waits for a register() under way; the delete then sees what it added.
            connection.execute(update(blobs).where(blobs.c.sha256 == sha256).values(size=blobs.c.size))
            result = connection.execute(delete(blobs).where(blobs.c.sha256 == sha256, _unreferenced()))
            if result.rowcount:
                store.delete(sha256)
                removed += 1
    return removed


def unreferenced(connection: Connection, *, older_than_seconds: float, limit: int = 100) -> list[str]:
    """Digests of rows that nothing refers to and nobody touched for a while: left over by a crash."""
    query = select(blobs.c.sha256).where(_unreferenced(), blobs.c.created_at < now(-older_than_seconds)).limit(limit)
    return list(connection.scalars(query))


def remove_unregistered(
    connection: Connection, store: BlobStore, digests: Sequence[str], *, older_than_seconds: float
) -> int:
    """Remove those of the files that have no row and were stored at least so long ago: left over by a crash.

    Returns how many went. A row of its own guards each file meanwhile, so that a :func:`register` at the same time
    waits, and sees what came of the file. Call it in a transaction of its own.
    """
    known = set(connection.scalars(select(blobs.c.sha256).where(blobs.c.sha256.in_(digests))))
    removed = 0
    for sha256 in sorted(set(digests) - known):
        guard = database.insert(connection, blobs).values(sha256=sha256, size=0, created_at=now())
        guarded = connection.execute(guard.on_conflict_do_nothing(index_elements=[blobs.c.sha256])).rowcount
        if not guarded:  # somebody has registered it just now
            continue
        if store.idle_seconds(sha256) >= older_than_seconds:  # stored again since it was listed: then it stays
            store.delete(sha256)
            removed += 1
        connection.execute(delete(blobs).where(blobs.c.sha256 == sha256))
    return removed


def referenced(connection: Connection) -> set[str]:
    """Digests of all files that a data set, a checkpoint, a result, a model or a job's initial weights name."""
    return {sha256 for column in _USERS for sha256 in connection.scalars(select(column)) if sha256 is not None}


def _unreferenced() -> ColumnElement[bool]:
    return and_(*(~exists().where(column == blobs.c.sha256) for column in _USERS))
