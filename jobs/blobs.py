"""Stored files, kept under the SHA-256 of their bytes. Which of them are in use is in :mod:`jobs.blob_rows`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

from fqt_core.files import file_sha256
from jobs.errors import BlobDamagedError, BlobMissingError, BlobTooLargeError

_CHUNK = 1 << 20
_HEX = frozenset("0123456789abcdef")


class Blob(NamedTuple):
    """Digest (lower-case hex) and size in bytes of a stored file."""

    sha256: str
    size: int


def is_digest(name: str) -> bool:
    """Whether this is a SHA-256 in lower-case hex."""
    return len(name) == 64 and set(name) <= _HEX


class BlobStore:
    """A folder of files named by their SHA-256. What is under its final name is whole and synced.

    :class:`jobs.remote_blobs.RemoteBlobStore` keeps them in an object store instead.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """The name of the file with this digest in the folder, whether or not it is there; see :meth:`local`."""
        if not is_digest(sha256):
            raise BlobMissingError(sha256)
        return self.root / sha256[:2] / sha256

    def exists(self, sha256: str) -> bool:
        """Whether the file is there."""
        return self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Bytes of the file, which is not read.

        Raises:
            BlobMissingError: it is not there.
        """
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            raise BlobMissingError(sha256) from None

    def local(self, sha256: str) -> Path:
        """The path of the file on this machine, for whoever reads it next.

        Raises:
            BlobMissingError: it is not there.
        """
        path = self.path(sha256)
        if not path.is_file():
            raise BlobMissingError(sha256)
        return path

    @contextmanager
    def writer(self, *, limit: int | None = None) -> Iterator[BlobWriter]:
        """Write a new file piece by piece; it appears when ``finish`` is called, otherwise nothing is left behind."""
        writer = BlobWriter(self, self._incoming / secrets.token_hex(16), limit)
        try:
            yield writer
        finally:
            writer.close()

    def put_stream(self, chunks: Iterable[bytes], *, limit: int | None = None) -> Blob:
        """Store the bytes of ``chunks``.

        Raises:
            BlobTooLargeError: more than ``limit`` bytes came. Nothing is kept.
        """
        with self.writer(limit=limit) as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.finish()

    def put_file(self, path: Path, *, limit: int | None = None) -> Blob:
        """Store a copy of a file."""
        with path.open("rb") as file:
            return self.put_stream(iter(lambda: file.read(_CHUNK), b""), limit=limit)

    def open(self, sha256: str) -> BufferedReader:
        """Open a file for reading.

        Raises:
            BlobMissingError: it is not there.
        """
        try:
            return self.local(sha256).open("rb")
        except FileNotFoundError:
            raise BlobMissingError(sha256) from None

    def verify(self, sha256: str) -> Path:
        """Read the whole file and compare its digest; return its path.

        Raises:
            BlobMissingError: it is not there.
            BlobDamagedError: its bytes are not those that were stored.
        """
        path = self.local(sha256)
        try:
            damaged = file_sha256(path) != sha256
        except FileNotFoundError:
            raise BlobMissingError(sha256) from None
        if damaged:
            raise BlobDamagedError(sha256)
        return path

    def adopt(self, path: Path, sha256: str) -> None:
        """Give a finished, synced file of the folder its name. Replaces a file of the same bytes."""
        final = self.path(sha256)
        if not final.parent.exists():
            final.parent.mkdir(exist_ok=True)
            sync_folder(self.root)
        path.replace(final)
        sync_folder(final.parent)

    def answers(self) -> bool:
        """Whether files can be reached just now."""
        return self.root.is_dir()

    def check(self, sha256: str) -> None:
        """Read the file where it is kept, whatever copies there are; raises as :meth:`verify`."""
        self.verify(sha256)

    def sweep_incoming(self, *, older_than_seconds: float) -> int:
        """Remove unfinished files that no process holds and nobody has written to for so long; return how many.

        The age is for file systems whose locks do not reach every machine, and for a file that is just being made.
        """
        stale = [
            path
            for path in self._incoming.iterdir()
            if _idle_seconds(path) >= older_than_seconds and not _is_held(path)
        ]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    def stored(self, *, older_than_seconds: float) -> Iterator[str]:
        """Digests of the finished files that were stored at least so long ago."""
        for path in self.root.glob("??/*"):
            if _idle_seconds(path) > older_than_seconds:
                yield path.name

    def idle_seconds(self, sha256: str) -> float:
        """Seconds since the file was stored, for the last time if that happened more than once; 0 if it is gone."""
        return _idle_seconds(self.path(sha256))

    def delete(self, sha256: str) -> None:
        """Remove a file; none is no error. Only :func:`collect` knows whether it may go."""
        self.path(sha256).unlink(missing_ok=True)


class BlobWriter:
    """A file on its way into the store; until then its bytes are in ``path``."""

    def __init__(self, store: BlobStore, path: Path, limit: int | None) -> None:
        self._store = store
        self.path = path
        self._limit = limit
        self._digest = hashlib.sha256()
        self._file: BinaryIO = path.open("xb")
        with suppress(OSError):  # a file system without locks: then only its age tells a leftover
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.size = 0

    def write(self, chunk: bytes) -> None:
        """Append bytes; raises BlobTooLargeError beyond the limit."""
        self.size += len(chunk)
        if self._limit is not None and self.size > self._limit:
            raise BlobTooLargeError(self._limit)
        self._digest.update(chunk)
        self._file.write(chunk)

    def finish(self) -> Blob:
        """Sync the file and give it its name. Replaces a file of the same bytes, which heals a damaged one."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        sha256 = self._digest.hexdigest()
        self._store.adopt(self.path, sha256)
        return Blob(sha256, self.size)

    def close(self) -> None:
        """Drop what was not finished."""
        try:
            self._file.close()
        except OSError:  # what was still to be written finds no room on the disk, and is not wanted any more
            pass
        finally:
            self.path.unlink(missing_ok=True)


def _idle_seconds(path: Path) -> float:
    """Seconds since the file was written to; 0 if it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_held(path: Path) -> bool:
    """Whether a living process is writing the file: the kernel drops its lock when it dies, however it dies."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def sync_folder(path: Path) -> None:
    """Make the names in a folder survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
