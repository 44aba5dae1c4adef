"""Stored files in an object store, for workers on several machines without a file system in common."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import fsspec
import structlog

from fqt_core.files import file_sha256
from jobs.blobs import BlobStore, is_digest
from jobs.errors import BlobDamagedError, BlobMissingError, StorageAwayError
from jobs.settings import Settings

_log = structlog.stdlib.get_logger(__name__)

Answer = TypeVar("Answer")

_IN_USE_SECONDS = 3600.0
"""A local copy stays at least so long after it was last asked for: whoever has its path may open it later."""
_ASK_AGAIN_SECONDS = 2.0
_PATIENCE = {"connect_timeout": 5, "read_timeout": 30, "retries": {"total_max_attempts": 2, "mode": "standard"}}


class RemoteBlobStore(BlobStore):
    """An object store that :mod:`fsspec` reaches (S3 and what speaks as it does), with a folder of local copies.

    What is under its digest in the object store is whole: objects appear when their upload is complete. The folder is
    a cache, bounded by ``cache_bytes`` but for copies that were asked for in the last hour; several processes of a
    machine may have the same one. Ages are told by the object store's clock.
    """

    def __init__(self, url: str, cache: Path, *, cache_bytes: int, endpoint: str | None = None) -> None:
        super().__init__(cache)
        self.url = url.rstrip("/")
        self._cache_bytes = cache_bytes
        options: dict[str, Any] = {"use_listings_cache": False}
        if urlsplit(url).scheme == "s3":
            options |= {"endpoint_url": endpoint, "config_kwargs": _PATIENCE}
        self._files, self._prefix = fsspec.core.url_to_fs(self.url, **options)
        self._answered: tuple[float, bool] | None = None

    @classmethod
    def of(cls, settings: Settings) -> RemoteBlobStore:
        """The object store that the settings name."""
        assert settings.blob_url is not None
        return cls(
            settings.blob_url, settings.blobs, cache_bytes=settings.blob_cache_bytes, endpoint=settings.blob_endpoint
        )

    def exists(self, sha256: str) -> bool:
        """Whether the object is there; copies do not count."""
        key = self._key(sha256)
        return bool(self._ask(lambda: self._files.exists(key)))

    def size(self, sha256: str) -> int:
        """Bytes of the object."""
        key = self._key(sha256)
        try:
            return int(self._ask(lambda: self._files.info(key))["size"])
        except FileNotFoundError:
            raise BlobMissingError(sha256) from None

    def local(self, sha256: str) -> Path:
        """The local copy; downloaded, and checked against its digest, if there is none.

        Raises:
            BlobMissingError: the object store has no such file.
            BlobDamagedError: what it has, has other bytes.
            StorageAwayError: it does not answer.
        """
        path = self.path(sha256)
        try:
            os.utime(path)
        except FileNotFoundError:
            self._download(sha256)
        return path

    def verify(self, sha256: str) -> Path:
        """As :meth:`local`, and the copy's bytes are read; a copy that is damaged is dropped and downloaded again."""
        path = self.local(sha256)
        if file_sha256(path) != sha256:
            path.unlink(missing_ok=True)
            self._download(sha256)
        return path

    def check(self, sha256: str) -> None:
        """Read the object, not the copy."""
        key = self._key(sha256)

        def digest() -> str:
            with self._files.open(key, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()

        try:
            if self._ask(digest) != sha256:
                raise BlobDamagedError(sha256)
        except FileNotFoundError:
            raise BlobMissingError(sha256) from None

    def adopt(self, path: Path, sha256: str) -> None:
        """Upload a finished file; then keep it as the local copy."""
        key = self._key(sha256)
        try:
            self._ask(lambda: self._files.put_file(str(path), key))
        except FileNotFoundError as error:  # the bucket: callers take this for the file that they gave
            raise StorageAwayError(f"{self.url}: {error}") from error
        self._keep(path, sha256)

    def stored(self, *, older_than_seconds: float) -> Iterator[str]:
        """Digests of the objects that were stored at least so long ago."""
        found = self._ask(lambda: self._files.find(self._prefix, detail=True))
        for key, info in found.items():
            name = str(key).rpartition("/")[2]
            if is_digest(name) and self._idle(key, info) > older_than_seconds:
                yield name

    def idle_seconds(self, sha256: str) -> float:
        """Seconds since the object was stored; 0 if it is gone."""
        key = self._key(sha256)
        try:
            return self._idle(key, {})
        except FileNotFoundError:
            return 0.0

    def delete(self, sha256: str) -> None:
        """Remove the object and our copy; other machines' copies go when their caches want the room."""
        key = self._key(sha256)
        with suppress(FileNotFoundError):
            self._ask(lambda: self._files.rm_file(key))
        super().delete(sha256)

    def answers(self) -> bool:
        """Whether the object store can be reached and lets us in; asked at most every two seconds."""
        now = time.monotonic()
        if self._answered is None or now - self._answered[0] > _ASK_AGAIN_SECONDS:
            fault = self.fault()
            if fault is not None:
                _log.warning("the object store does not answer", error=fault)
            self._answered = (now, fault is None)
        return self._answered[1]

    def fault(self) -> str | None:
        """Why the object store cannot be used, asked just now; ``None``: it can."""
        try:
            self._ask(lambda: self._files.ls(self._prefix.partition("/")[0]))
        except (StorageAwayError, FileNotFoundError) as error:
            return str(error)
        return None

    def _key(self, sha256: str) -> str:
        return f"{self._prefix}/{self.path(sha256).relative_to(self.root).as_posix()}"

    def _idle(self, key: str, info: dict[str, Any]) -> float:
        written = info.get("LastModified") or self._ask(lambda: self._files.modified(key))
        return float((datetime.now(UTC) - written.astimezone(UTC)).total_seconds())

    def _download(self, sha256: str) -> None:
        key = self._key(sha256)
        with self.writer() as writer:
            try:
                self._ask(lambda: self._files.get_file(key, str(writer.path)))
            except FileNotFoundError:
                raise BlobMissingError(sha256) from None
            if file_sha256(writer.path) != sha256:
                raise BlobDamagedError(sha256)
            self._keep(writer.path, sha256)

    def _keep(self, path: Path, sha256: str) -> None:
        super().adopt(path, sha256)
        self._make_room()

    def _make_room(self) -> None:
        """Drop the copies that were not asked for for the longest time, until the rest is within the bound."""
        copies = []
        for path in self.root.glob("??/*"):
            with suppress(FileNotFoundError):  # another process makes room too
                found = path.stat()
                copies.append((found.st_mtime, found.st_size, path))
        copies.sort()
        over = sum(size for _, size, _ in copies) - self._cache_bytes
        for used, size, path in copies:
            if over <= 0 or time.time() - used < _IN_USE_SECONDS:
                return
            path.unlink(missing_ok=True)
            over -= size

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        """Make a call to the object store.

        Raises:
            FileNotFoundError: there is no such object.
            StorageAwayError: anything else; each implementation has errors of its own, of which many are no OSError.
        """
        try:
            return call()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise StorageAwayError(f"{self.url}: {str(error) or type(error).__name__}") from error
