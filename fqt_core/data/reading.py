"""Readers that cannot be made to read more than they are allowed to, whatever a header claims."""

from __future__ import annotations

import io
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from fqt_core.data.faults import WHOLE_FILE, ExhaustedError, fatal
from fqt_core.data.limits import Limits
from fqt_core.errors import DataError

CHUNK = 1024 * 1024
_ZIP_ENTRY = b"PK\x01\x02"  # what each entry of a zip's directory begins with
_READ_ERRORS = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    IndexError,
)
_DAMAGED = "the file is cut off or damaged; pack or upload it again"


@contextmanager
def damage_reported(where: str = WHOLE_FILE) -> Iterator[None]:
    """Turn what the parsers raise on damaged input into :class:`DataError`."""
    try:
        yield
    except DataError:
        raise
    except _READ_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise fatal(f"cannot be read ({reason})", where=where, remedy=_DAMAGED) from error


class Reader(Protocol):
    """What is needed of a member's stream."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        ...


class Budget:
    """Uncompressed bytes that one container may still give, counted as they come out."""

    def __init__(self, limits: Limits, packed_bytes: int) -> None:
        """``packed_bytes`` is the size of the container on disk; the ratio is measured against it."""
        self._limits = limits
        self._by_ratio = max(limits.ratio_free_bytes, limits.ratio * packed_bytes)
        self._taken = 0

    def take(self, count: int, where: str) -> None:
        """Count ``count`` more bytes.

        Raises:
            ExhaustedError: more than the limits allow.
        """
        self._taken += count
        if self._taken > self._limits.total_bytes:
            self._refuse(where, f"more than {self._limits.total_bytes:,} bytes of content", "split the data set")
        if self._taken > self._by_ratio:
            self._refuse(
                where,
                f"expands more than {self._limits.ratio} times: this looks like a decompression bomb",
                "pack the files with less compression",
            )

    @property
    def ceiling(self) -> int:
        """The most bytes that can come out at all."""
        return min(self._limits.total_bytes, self._by_ratio)

    @staticmethod
    def _refuse(where: str, message: str, remedy: str) -> NoReturn:
        error = fatal(message, where=where, remedy=remedy)
        raise ExhaustedError(str(error), where=where, remedy=remedy, faults=error.faults)


class BoundedReader:
    """Reads from ``raw`` and counts against ``budget``."""

    def __init__(self, raw: IO[bytes], budget: Budget, where: str) -> None:
        self._raw = raw
        self._budget = budget
        self._where = where

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        with damage_reported(self._where):
            data = self._raw.read(min(size, CHUNK))
        self._budget.take(len(data), self._where)
        return data


class CountingFile(io.RawIOBase):
    """A seekable stream for parsers that trust sizes in headers: one huge read is refused, all bytes are counted.

    ``zipfile`` reads the central directory, ``tarfile`` extended headers, in one piece whose size the file itself
    claims; member contents are asked for in pieces of at most :data:`CHUNK`.
    """

    def __init__(
        self, raw: IO[bytes], *, largest_read: int, budget: Budget | None = None, members: int | None = None
    ) -> None:
        """``members``: the most entries that a zip's directory may have; it is parsed only if it has no more."""
        super().__init__()
        self._raw = raw
        self._largest = largest_read
        self._budget = budget
        self._members = members

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any binary file; more than ``largest_read`` bytes in one go are refused."""
        if size is None or size < 0:
            size = self._largest + 1
        if size > self._largest:
            data = self._raw.read(self._largest + 1)
            if len(data) > self._largest:
                raise fatal("its directory of members is too large", remedy="pack fewer files, or split the data set")
        else:
            data = self._raw.read(size)
        if self._budget is not None:
            self._budget.take(len(data), WHOLE_FILE)
        if self._members is not None and data.count(_ZIP_ENTRY) > self._members:
            raise fatal(f"more than {self._members:,} members", remedy="split the data set")
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As of any binary file."""
        if self._budget is None:
            return self._raw.seek(offset, whence)
        # A compressed stream decompresses what it skips: skip in counted pieces.
        if whence == io.SEEK_CUR:
            offset += self._raw.tell()
        position = self._raw.tell()
        if offset < position:
            return self._raw.seek(offset)
        while position < offset:
            data = self.read(min(CHUNK, self._largest, offset - position))
            if not data:
                break
            position += len(data)
        return position

    def tell(self) -> int:
        """Position in the uncompressed stream."""
        return self._raw.tell()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True


def allocate(shape: tuple[int, ...], where: str) -> npt.NDArray[np.uint8]:
    """An uninitialised uint8 array.

    Raises:
        DataError: the process may not use that much memory.
    """
    try:
        return np.empty(shape, dtype=np.uint8)
    except MemoryError as error:
        raise fatal(
            f"needs {math.prod(shape):,} bytes of memory, more than is available",
            where=where,
            remedy="use fewer or smaller images, or give the worker more memory",
        ) from error


def read_all(reader: Reader, limit: int, where: str) -> bytes:
    """Read to the end.

    Raises:
        DataError: there is more than ``limit`` bytes.
    """
    pieces = []
    total = 0
    while piece := reader.read(CHUNK):
        total += len(piece)
        if total > limit:
            raise fatal(f"larger than {limit:,} bytes", where=where, remedy="make the file smaller")
        pieces.append(piece)
    return b"".join(pieces)


def read_into(reader: Reader, target: memoryview, where: str) -> None:
    """Fill ``target`` exactly.

    Raises:
        DataError: the stream ends early.
    """
    done = 0
    while done < len(target):
        piece = reader.read(min(CHUNK, len(target) - done))
        if not piece:
            raise fatal(
                f"its header claims {len(target):,} bytes of data, but only {done:,} are there",
                where=where,
                remedy="the file is cut off or damaged; copy it again",
            )
        target[done : done + len(piece)] = piece
        done += len(piece)
