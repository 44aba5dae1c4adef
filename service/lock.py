"""One service per data folder: a lock that the kernel drops when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from service.errors import AlreadyRunningError, StartError


class DataDirLock:
    """Held while a service runs on a data folder; the file tells others where that service is."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._descriptor: int | None = None

    @property
    def path(self) -> Path:
        """The lock file."""
        return self.data_dir / "up.lock"

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            AlreadyRunningError: another process holds it.
            StartError: the folder cannot be written.
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartError(
                f"cannot write to the data folder {self.data_dir}: {error.strerror}",
                remedy="choose another with --data-dir or FQT_DATA_DIR",
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            os.close(descriptor)
            where = f" at {holder['url']}" if holder.get("url") else ""
            raise AlreadyRunningError(
                f"a service is running on {self.data_dir} already{where} (process {holder.get('pid', 'unknown')})",
                remedy="use that one, or start another with --data-dir DIR",
            ) from None
        self._descriptor = descriptor
        self.tell(pid=os.getpid())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            # The file stays: removing it would let two others lock two different files of the same name.
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def tell(self, **content: Any) -> None:
        """Write what others should know of the holder."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(content).encode(), 0)


def _read(descriptor: int) -> dict[str, Any]:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
