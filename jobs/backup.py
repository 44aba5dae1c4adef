"""Backups: database and stored files, consistent with each other, taken while the service runs.

A backup is a folder. Its database is a SQLite file with the service's own tables, whatever database they come from, so
that it can be restored into either, by this version or a later one::

    backup.json     what it is: format, time, row counts, digest of the database
    database.db     all tables
    blobs/          the stored files that they name
    secret          what API keys are hashed with; whoever has it and the database still has no key
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select

from fqt_core.files import file_sha256, write_atomically
from jobs import blob_rows, blobs, database
from jobs.blobs import BlobStore
from jobs.errors import BackupError, BlobDamagedError, BlobError, BlobMissingError
from jobs.settings import Settings
from jobs.store import Store
from jobs.tables import blobs as blob_table
from jobs.tables import datasets, jobs, keys, metadata

_FORMAT, _VERSION = "fqt-backup", 1
_ROWS = 1000
_ROUNDS = 20


@dataclass(frozen=True)
class Summary:
    """What a backup holds: rows per table, stored files, their bytes. ``lost``: files that the store itself lacks."""

    rows: dict[str, int]
    files: int
    bytes: int
    lost: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def write(store: Store, folder: Path) -> Summary:
    """Make a backup in a new folder. What it holds is the state of one moment between the call and its return.

    Raises:
        BackupError: the folder is there already, or the database is of another version.
    """
    if folder.exists():
        raise BackupError(f"{folder} is there already; name a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=0o700)
    try:
        summary = _fill(store, partial)
        partial.rename(folder)
        blobs.sync_folder(folder.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return summary


def restore(settings: Settings, folder: Path) -> Summary:
    """Put a backup into an empty store. Nothing is in the database until everything is.

    Raises:
        BackupError: it is no backup, it is damaged, or the store is not empty.
    """
    manifest = _manifest(folder)
    copy = folder / "database.db"
    if _digest(copy) != manifest.get("database_sha256"):
        raise BackupError(f"{copy} is damaged: its bytes are not those that were written")
    store = Store.open(settings, migrate=True)
    try:
        with store.read() as connection:
            if any(connection.execute(select(table).limit(1)).first() for table in (keys, datasets, jobs)):
                raise BackupError(
                    f"{database.place(settings)} is in use; a backup is restored into an empty database only"
                )
        with tempfile.TemporaryDirectory(dir=settings.data_dir) as scratch:
            mine = Path(scratch) / copy.name
            shutil.copyfile(copy, mine)
            with _sqlite(mine) as source:
                database.upgrade(source)  # made by an earlier version
                lost = set(manifest.get("lost", []))
                files, size = _restore_files(source, BlobStore(folder / "blobs"), store.blobs, lost)
                warnings = _restore_secret(folder, settings, store)
                with database.read(source) as there, store.write() as here:
                    database.take_time(here)
                    rows = _copy_rows(there, here)
    finally:
        store.close()
    return Summary(rows, files, size, sorted(lost), warnings)


def _fill(store: Store, folder: Path) -> Summary:
    target, copy = BlobStore(folder / "blobs"), folder / "database.db"
    for _ in range(_ROUNDS):
        rows, wanted = _copy_database(store, copy)
        lost = [sha256 for sha256 in sorted(wanted) if not _copy_file(store.blobs, target, sha256)]
        with store.read() as connection:
            still = blob_rows.referenced(connection)
        # A file that went meanwhile was dropped with its row, so the copied rows are out of date: copy them once more.
        # Each round has only the files of the time of the last one to copy.
        if all(sha256 in still for sha256 in lost):
            break
    else:
        raise BackupError("files are dropped faster than they can be copied; try again when fewer jobs run")
    for sha256 in set(target.stored(older_than_seconds=-1)) - wanted:
        target.delete(sha256)
    size = sum(target.size(sha256) for sha256 in wanted - set(lost))
    summary = Summary(rows, len(wanted) - len(lost), size, lost)
    _private(folder / "secret", store.key_secret)
    manifest = {
        "format": _FORMAT,
        "version": _VERSION,
        "created_at": datetime.now(UTC).isoformat(),
        "database_sha256": _digest(copy),
        **asdict(summary),
    }
    write_atomically(folder / "backup.json", json.dumps(manifest, indent=1).encode())
    return summary


def _copy_database(store: Store, path: Path) -> tuple[dict[str, int], set[str]]:
    """Copy all rows into a new SQLite file; return their numbers, and the files that they name."""
    path.unlink(missing_ok=True)
    with _sqlite(path) as copy:
        database.upgrade(copy)
        with database.snapshot(store.engine) as there, database.write(copy) as here:
            if not database.is_up_to_date(there):
                raise BackupError("the tables are of another version; bring them up to date first (`fqt migrate`)")
            rows = _copy_rows(there, here)
            wanted = blob_rows.referenced(here)
            leftover = here.execute(delete(blob_table).where(blob_table.c.sha256.not_in(wanted))).rowcount
            rows["blobs"] -= leftover
    return rows, wanted


def _copy_rows(source: Connection, target: Connection) -> dict[str, int]:
    copied = {}
    for table in metadata.sorted_tables:
        count = 0
        target.execute(delete(table))  # the rows that an upgrade brings
        result = source.execution_options(yield_per=_ROWS).execute(select(table))
        for rows in result.mappings().partitions():
            target.execute(insert(table), [dict(row) for row in rows])
            count += len(rows)
        copied[table.name] = count
    return copied


def _copy_file(source: BlobStore, target: BlobStore, sha256: str) -> bool:
    """Copy a stored file, checked against its digest; ``False`` if it is missing or damaged."""
    if target.exists(sha256):
        return True
    try:
        blob = target.put_file(source.local(sha256))
    except (BlobMissingError, BlobDamagedError, FileNotFoundError):
        return False
    if blob.sha256 != sha256:
        target.delete(blob.sha256)
        return False
    return True


def _restore_files(source: Engine, kept: BlobStore, target: BlobStore, lost: set[str]) -> tuple[int, int]:
    with database.read(source) as connection:
        wanted = blob_rows.referenced(connection) - lost
    size = 0
    for sha256 in sorted(wanted):
        try:
            path = kept.verify(sha256)
        except BlobMissingError:
            raise BackupError(f"the backup lacks the stored file {sha256}") from None
        except BlobError as error:
            raise BackupError(f"the backup is damaged: {error}") from None
        size += target.put_file(path).size
    return len(wanted), size


def _restore_secret(folder: Path, settings: Settings, store: Store) -> list[str]:
    secret = (folder / "secret").read_bytes()
    if secret == store.key_secret:
        return []
    if settings.secret is not None:
        return [
            "FQT_SECRET is not that of the backup, so its API keys do not work here: set that one, or make new keys"
        ]
    _private(settings.data_dir / "secret", secret)
    return []


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / "backup.json").read_bytes())
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder} holds no backup: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise BackupError(f"{folder} holds no backup of this service")
    if manifest.get("version") != _VERSION:
        raise BackupError(f"{folder} is a backup of version {manifest.get('version')}; this program reads {_VERSION}")
    return manifest


@contextmanager
def _sqlite(path: Path) -> Iterator[Engine]:
    """A SQLite file that is one file when the block ends."""
    engine = database.connect(Settings(data_dir=path.parent, database_url=f"sqlite:///{path}"))
    try:
        yield engine
        with engine.connect() as connection:
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
            connection.exec_driver_sql("BEGIN")
    finally:
        engine.dispose()


def _private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except FileNotFoundError:
        raise BackupError(f"{path} is missing") from None
