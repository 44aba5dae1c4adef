"""One view of a zip, a tar, a tar.gz and a plain folder: a list of checked entries, and their bytes one by one.

Nothing is ever extracted to disk. The list is made without reading contents (a tar.gz has to be decompressed for it);
names, links, devices, counts and claimed sizes are checked there, the bytes that really come out when they are read.
"""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fqt_core.data import names
from fqt_core.data.beneath import open_beneath
from fqt_core.data.faults import Faults, fatal
from fqt_core.data.limits import DEFLATE_RATIO, MIB, Limits
from fqt_core.data.reading import CHUNK, BoundedReader, Budget, CountingFile, Reader, damage_reported

_LARGEST_TAR_HEADER = MIB


@dataclass(frozen=True)
class Entry:
    """A member: normalised ``name``, and the most bytes that it can give according to the container's own size."""

    name: str
    is_directory: bool
    possible_bytes: int
    key: str = ""


class Container(ABC):
    """A data set's files. ``entries`` holds what is neither junk nor refused, in the container's order."""

    def __init__(self, path: Path, limits: Limits, faults: Faults) -> None:
        self.path = path
        self.limits = limits
        self.faults = faults
        self.entries: list[Entry] = []
        self._seen: set[str] = set()
        self._folders = 0
        with damage_reported():
            self._list()

    def budget(self) -> Budget:
        """A fresh allowance of uncompressed bytes, measured against the container's size on disk."""
        return Budget(self.limits, self.path.stat().st_size)

    @abstractmethod
    def _list(self) -> None:
        """Call :meth:`_note` for every member."""

    @abstractmethod
    def _open(self, wanted: Collection[str]) -> Iterator[tuple[Entry, Reader]]:
        """Yield the members named in ``wanted``, in the container's order; a reader is good until the next one."""

    def stream(self, wanted: Collection[str]) -> Iterator[tuple[Entry, Reader]]:
        """Yield ``(entry, reader)`` of the wanted names in the container's own order.

        Raises:
            DataError: the container is damaged, or gives more bytes than the limits allow.
        """
        with damage_reported():
            yield from self._open(wanted)

    def _note(self, raw_name: str, *, is_directory: bool, possible: int, refused: str | None, key: str = "") -> None:
        name = names.normalize(raw_name)
        if names.is_junk(name) or (is_directory and name in {".", "/"}):
            return
        refused = refused or names.refusal(name, self.limits)
        if refused is None and not is_directory and name in self._seen:
            refused = "this name is in the archive twice"
        if refused is not None:
            self.faults.add(names.printable(raw_name), refused, "remove it from the archive")
            return
        if not is_directory:
            self._seen.add(name)
        self._folders += is_directory
        if self._folders > self.limits.folders:
            raise fatal(f"more than {self.limits.folders:,} folders", remedy="leave folders without images out")
        self.entries.append(Entry(name, is_directory, possible, key or raw_name))
        if len(self.entries) > self.limits.members:
            raise fatal(f"more than {self.limits.members:,} members", remedy="split the data set")


class ZipContainer(Container):
    """A zip: stored or deflated members only, not encrypted, no links."""

    def _list(self) -> None:
        packed = self.path.stat().st_size
        with self.path.open("rb") as raw, self._zip(raw) as archive:
            for info in archive.infolist():
                # The header's sizes are claims; deflate's best and the file's own size are facts.
                possible = min(info.compress_size, packed) * DEFLATE_RATIO
                self._note(
                    info.orig_filename,
                    is_directory=info.is_dir(),
                    possible=min(possible, info.file_size),
                    refused=_zip_refusal(info),
                    key=info.filename,
                )

    def _zip(self, raw: IO[bytes]) -> zipfile.ZipFile:
        largest = max(self.limits.directory_bytes, CHUNK)
        bounded = CountingFile(raw, largest_read=largest, members=self.limits.members)
        return zipfile.ZipFile(bounded)

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[Entry, Reader]]:
        budget = self.budget()
        with self.path.open("rb") as raw, self._zip(raw) as archive:
            for entry in self.entries:
                if entry.name in wanted and not entry.is_directory:
                    with damage_reported(entry.name), archive.open(entry.key) as member:
                        yield entry, BoundedReader(member, budget, entry.name)


def _zip_refusal(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "a link or device"
    if info.flag_bits & 0x1:
        return "encrypted"
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        return "packed with a method other than deflate"
    return None


class TarContainer(Container):
    """A tar, plain or gzip-compressed: regular files and folders only."""

    @contextmanager
    def _tar(self) -> Iterator[tarfile.TarFile]:
        with self.path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: IO[bytes] = gzip.GzipFile(fileobj=raw) if compressed else raw  # type: ignore[assignment]
            budget = self.budget() if compressed else None
            counted = CountingFile(stream, largest_read=_LARGEST_TAR_HEADER, budget=budget)
            with tarfile.open(fileobj=counted, mode="r:") as archive:
                yield archive

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        with self._tar() as archive:
            while (info := archive.next()) is not None:
                if info.size < 0:  # the reader would go back, and never end
                    raise fatal("cannot be read (a size below zero)", remedy="pack the archive again")
                yield archive, info
                archive.members.clear()  # type: ignore[attr-defined] # it remembers every header otherwise

    def _list(self) -> None:
        for _archive, info in self._members():
            regular = info.isfile() and not info.issparse()
            self._note(
                info.name,
                is_directory=info.isdir(),
                possible=info.size,
                refused=None if regular or info.isdir() else "a link, device or sparse file",
            )

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[Entry, Reader]]:
        budget = self.budget()
        by_key = {entry.key: entry for entry in self.entries if not entry.is_directory and entry.name in wanted}
        for archive, info in self._members():
            entry = by_key.get(info.name)
            if entry is None or not info.isfile() or info.issparse():
                continue
            with damage_reported(entry.name):
                member = archive.extractfile(info)
                if member is not None:
                    yield entry, BoundedReader(member, budget, entry.name)


class FolderContainer(Container):
    """A local folder. Links to files are followed if ``limits.links``, links to folders are not."""

    def budget(self) -> Budget:
        """Files of a folder are not compressed: only the total counts."""
        return Budget(self.limits, self.limits.total_bytes)

    def _list(self) -> None:
        for folder, subfolders, files in os.walk(self.path):
            subfolders.sort()
            base = Path(folder)
            for name in subfolders:
                self._note_path(base / name, is_directory=True)
            for name in sorted(files):
                self._note_path(base / name, is_directory=False)

    def _note_path(self, path: Path, *, is_directory: bool) -> None:
        relative = path.relative_to(self.path).as_posix()
        refused = None if is_directory or path.is_file() else "not a regular file"
        if not self.limits.links and path.is_symlink():
            refused = "a link"
        size = path.stat().st_size if refused is None and not is_directory else 0
        self._note(relative, is_directory=is_directory, possible=size, refused=refused)

    def _open(self, wanted: Collection[str]) -> Iterator[tuple[Entry, Reader]]:
        budget = self.budget()
        for entry in self.entries:
            if entry.name in wanted and not entry.is_directory:
                with damage_reported(entry.name), self._open_file(entry.key) as member:
                    yield entry, BoundedReader(member, budget, entry.name)

    def _open_file(self, key: str) -> IO[bytes]:
        return (self.path / key).open("rb") if self.limits.links else open_beneath(self.path, key)


def open_container(path: Path, limits: Limits, faults: Faults) -> Container:
    """Open ``path`` by its content.

    Raises:
        DataError: neither a folder nor a zip, tar or tar.gz, or a damaged one.
        FileNotFoundError: there is no such file.
    """
    if path.is_dir():
        return FolderContainer(path, limits, faults)
    with path.open("rb") as stream:
        head = stream.read(512)
    if head[:4] in {b"PK\x03\x04", b"PK\x05\x06"}:
        return ZipContainer(path, limits, faults)
    if head[:2] == b"\x1f\x8b" or head[257:262] == b"ustar" or _is_old_tar(head):
        return TarContainer(path, limits, faults)
    what = "an empty file" if not head else "a file of unknown type"
    raise fatal(what, remedy="upload a zip, tar or tar.gz of class folders, an archive of IDX files, or an NPZ")


def _is_old_tar(head: bytes) -> bool:
    """Whether ``head`` is a pre-POSIX tar header: no magic word, but a right checksum."""
    if len(head) < 512 or not head[0]:
        return False
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True
