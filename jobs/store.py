"""The store of one process: database, stored files and settings, opened once and passed down."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection, Engine

from jobs import blob_rows, database
from jobs.blobs import BlobStore
from jobs.errors import StorageAwayError
from jobs.settings import Settings

_log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Store:
    """Everything that is kept. Thread-safe: each transaction takes a connection of its own from the pool."""

    settings: Settings
    engine: Engine
    blobs: BlobStore
    key_secret: bytes

    @classmethod
    def open(cls, settings: Settings, *, migrate: bool = False) -> Store:
        """Open the store of the settings; with ``migrate`` bring its tables up to date first."""
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = database.connect(settings)
        if migrate:
            database.upgrade(engine)
        return cls(settings, engine, _files(settings), settings.key_secret())

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for reading, see :func:`jobs.database.read`."""
        return database.read(self.engine)

    def write(self) -> AbstractContextManager[Connection]:
        """One transaction for writing: committed at the end, rolled back on an exception."""
        return database.write(self.engine)

    def collect(self, digests: Iterable[str]) -> int:
        """Remove those of the stored files that nothing refers to; call it after the removing transaction committed.

        While an object store does not answer, nothing goes; the reaper finds the files later.
        """
        try:
            with self.write() as connection:
                return blob_rows.collect(connection, self.blobs, digests)
        except StorageAwayError as error:
            _log.warning("files that are not needed any more could not be removed yet", error=str(error))
            return 0

    def close(self) -> None:
        """Give back every database connection."""
        self.engine.dispose()


def _files(settings: Settings) -> BlobStore:
    if settings.blob_url is None:
        return BlobStore(settings.blobs)
    from jobs.remote_blobs import RemoteBlobStore  # noqa: PLC0415 - what most do without takes a second to import

    return RemoteBlobStore.of(settings)
