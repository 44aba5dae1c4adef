"""IDX files (the MNIST family): big-endian header, then unsigned bytes; plain or gzip-compressed.

    offset 0: 0, 0, type (8 = unsigned byte), number of dimensions
    offset 4: one uint32 per dimension
    then    : the values, last dimension fastest

Images have three dimensions (n, height, width), labels one (n). A pair whose names hold ``t10k``, ``test`` or ``val``
is the validation part. Source: the format's description on Yann LeCun's MNIST page.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fqt_core.data.container import Container, Entry
from fqt_core.data.faults import fatal
from fqt_core.data.limits import DEFLATE_RATIO
from fqt_core.data.names import printable
from fqt_core.data.reading import CHUNK, Budget, Reader, allocate, damage_reported, read_into
from fqt_core.data.source import ArrayPart, ArraySource, Part

_HELD_OUT = re.compile(r"t10k|test|val", re.IGNORECASE)
_UNSIGNED_BYTE = 8


def is_idx(head: bytes) -> bool:
    """Whether the first 4 bytes are an IDX header's."""
    return len(head) >= 4 and head[:2] == b"\0\0" and head[2] in {8, 9, 11, 12, 13, 14} and 1 <= head[3] <= 4


def refuse_lone_file(path: Path) -> None:
    """Say what is missing where one IDX file, plain or compressed, was given instead of an archive of a pair.

    Raises:
        DataError: it is an IDX file.
    """
    with path.open("rb") as raw:
        head = raw.read(4)
        if head[:2] == b"\x1f\x8b":
            raw.seek(0)
            with suppress(OSError, EOFError, zlib.error):  # a damaged archive is told by who reads it as one
                head = gzip.GzipFile(fileobj=raw).read(4)
    if is_idx(head):
        here, missing = ("labels", "images") if head[3] == 1 else ("images", "labels")
        raise fatal(
            f"one IDX file by itself ({here}); its file of {missing} is missing",
            remedy="pack both files of the pair together into a zip or tar and upload that",
        )


class GunzipReader:
    """Decompresses another reader's gzip stream piece by piece; output counts against ``budget``."""

    def __init__(self, packed: Reader, budget: Budget, where: str) -> None:
        self._packed = packed
        self._budget = budget
        self._where = where
        self._engine = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; ``b""`` at the end."""
        with damage_reported(self._where):
            while not self._engine.eof:
                data = self._waiting or self._packed.read(CHUNK)
                if not data:
                    return b""
                out = self._engine.decompress(data, max(size, 1))
                self._waiting = self._engine.unconsumed_tail
                if out:
                    self._budget.take(len(out), self._where)
                    return out
        return b""


class _Prefixed:
    """A reader with bytes put back in front."""

    def __init__(self, head: bytes, rest: Reader) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        if self._head:
            piece, self._head = self._head[:size], self._head[size:]
            return piece
        return self._rest.read(size)


def read_exactly(reader: Reader, size: int) -> bytes:
    """Up to ``size`` bytes: fewer only at the end of the stream."""
    data = b""
    while len(data) < size and (piece := reader.read(size - len(data))):
        data += piece
    return data


def plain_reader(entry: Entry, reader: Reader, budget: Budget) -> tuple[Reader, int]:
    """Undo gzip if the member is compressed. Returns a reader and the most bytes that it can give."""
    head = read_exactly(reader, 2)
    whole = _Prefixed(head, reader)
    if head == b"\x1f\x8b":
        possible = min(entry.possible_bytes * DEFLATE_RATIO, budget.ceiling)
        return GunzipReader(whole, budget, printable(entry.name)), possible
    return whole, min(entry.possible_bytes, budget.ceiling)


def read_idx(reader: Reader, possible: int, where: str) -> npt.NDArray[np.uint8]:
    """Read one IDX array.

    Args:
        reader: at the first byte of the header.
        possible: the most bytes that the stream can give; a header that claims more is refused before allocating.
        where: the member's name.

    Returns:
        uint8, with the shape of the header.

    Raises:
        DataError: not IDX of unsigned bytes, or fewer or more bytes than the header says.
    """
    head = read_exactly(reader, 4)
    if not is_idx(head):
        raise fatal("not an IDX file", where=where, remedy="an archive of IDX files holds nothing else")
    if head[2] != _UNSIGNED_BYTE:
        raise fatal("IDX values are not unsigned bytes", where=where, remedy="convert them to uint8")
    sizes = read_exactly(reader, 4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise fatal("the IDX header is cut off", where=where, remedy="copy the file again")
    shape = struct.unpack(f">{head[3]}I", sizes)
    count = math.prod(shape)
    if count > possible:
        raise fatal(
            f"its header claims {' x '.join(map(str, shape))} = {count:,} bytes, more than the file can hold",
            where=where,
            remedy="the file is damaged; copy it again",
        )
    values = allocate((count,), where)
    read_into(reader, values.data, where)
    if reader.read(1):
        raise fatal("more data than its header claims", where=where, remedy="the file is damaged; copy it again")
    return values.reshape(shape)


def idx_source(container: Container) -> ArraySource:
    """Read the pairs of an archive (or folder) of IDX files.

    Raises:
        DataError: no pair of images and labels, a pair that does not fit, or more than one pair for a part.
    """
    images: dict[Part, tuple[str, npt.NDArray[np.uint8]]] = {}
    labels: dict[Part, tuple[str, npt.NDArray[np.uint8]]] = {}
    names = {entry.name for entry in container.entries if not entry.is_directory}
    budget = container.budget()
    for entry, packed in container.stream(names):
        where = printable(entry.name)
        reader, possible = plain_reader(entry, packed, budget)
        array = read_idx(reader, possible, where)
        part: Part = "validation" if _HELD_OUT.search(entry.name.rsplit("/", 1)[-1]) else "train"
        if array.ndim not in {1, 3} or (array.ndim == 3 and 0 in array.shape[1:]):
            raise fatal(
                f"shape {array.shape}: images have shape (n, height, width), labels (n)",
                where=where,
                remedy="remove the file",
            )
        target = images if array.ndim == 3 else labels
        if part in target:
            raise fatal(
                f"a second file of {'images' if array.ndim == 3 else 'labels'} for the {part} part "
                f"(the first is {target[part][0]})",
                where=where,
                remedy="pack one data set only: one pair of files, or a train- and a t10k- pair",
            )
        target[part] = (where, array)
    for part in images.keys() ^ labels.keys():
        where = (images.get(part) or labels[part])[0]
        missing = "labels" if part in images else "images"
        container.faults.add(where, f"there is no file of {missing} for it", "pack both files of the pair together")
    container.faults.raise_if_any()
    if images.keys() == {"validation"}:  # a single pair is to be trained on, whatever it is called
        images, labels = {"train": images["validation"]}, {"train": labels["validation"]}
    parts = {part: ArrayPart(array, labels[part][1], where) for part, (where, array) in sorted(images.items())}
    return ArraySource("idx", parts, container.limits, container.faults)
