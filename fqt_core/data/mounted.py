"""Folders that others may write to: what was looked through is pinned, file by file, and only that is trained on.

The pin is a listing: one line per file, sorted by name, ``<SHA-256> <bytes> <name>``. Names and contents are in it and
times are not, so that a folder that was copied, or put back, is the same. While files are read, their inodes, sizes and
times are watched: a folder that is written to meanwhile is refused, so that what was read is what was listed.

Links are neither followed nor accepted, at any level: a name in such a folder leads to nothing outside of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from fqt_core.data import names
from fqt_core.data.beneath import open_beneath
from fqt_core.data.dataset import ImageDataset
from fqt_core.data.faults import fatal
from fqt_core.data.limits import DEFAULT_LIMITS, Limits
from fqt_core.data.load import load_dataset
from fqt_core.data.profile import profile
from fqt_core.data.reading import damage_reported
from fqt_core.errors import DatasetChangedError

_NO_FILE = "-" * 64
_NAMED = 5
_Stamps: TypeAlias = dict[str, os.stat_result]


@dataclass(frozen=True)
class Look:
    """What a look through a folder found: its profile, and, if it can be used, its listing and size in bytes."""

    profile: dict[str, Any]
    listing: bytes | None
    size: int


def look_through(folder: Path, *, limits: Limits = DEFAULT_LIMITS, thumbnails: Path | None = None) -> Look:
    """Profile a folder as :func:`fqt_core.data.profile` does, and list it.

    Raises:
        DatasetChangedError: it was written to meanwhile.
        DataError: it holds more than the limits allow.
        FileNotFoundError: it is not there.
    """
    before = _stamps(folder, limits)
    record = profile(_source(folder, before), limits=replace(limits, links=False), thumbnails=thumbnails)
    listing = None if record["faults"] else _listing(folder, before, limits)
    _check_still(folder, before, limits)
    return Look(record, listing, sum(row.st_size for row in before.values()))


def load_pinned(
    folder: Path,
    listing: bytes,
    *,
    classes: Sequence[str] | None = None,
    channels: int = 3,
    image_size: int = 32,
    limits: Limits = DEFAULT_LIMITS,
) -> ImageDataset:
    """Load a folder whose files are those of the listing; arguments as of :func:`fqt_core.data.load_dataset`.

    Raises:
        DatasetChangedError: they are not, or the folder was written to while it was read.
        DataError: the data set cannot be used.
        FileNotFoundError: the folder is not there.
    """
    before = _stamps(folder, limits)
    if (found := _listing(folder, before, limits)) != listing:
        raise _changed(listing, found)
    dataset = load_dataset(
        _source(folder, before),
        classes=classes,
        channels=channels,
        image_size=image_size,
        limits=replace(limits, links=False),
    )
    _check_still(folder, before, limits)
    return dataset


def _stamps(folder: Path, limits: Limits) -> _Stamps:
    """Everything in the folder that is no folder, by name, but for what is hidden or an operating system's."""
    found: _Stamps = {}

    def broken(error: OSError) -> None:
        raise error

    with damage_reported():
        if not folder.is_dir():
            raise fatal("the folder is not there", remedy="mount it, or correct its path")
        for parent, subfolders, files in os.walk(folder, onerror=broken):
            base = Path(parent).relative_to(folder)
            links = [name for name in subfolders if Path(parent, name).is_symlink()]
            subfolders[:] = sorted(name for name in subfolders if not names.is_junk(name) and name not in links)
            for name in sorted([*files, *links]):
                if not names.is_junk(name):
                    found[(base / name).as_posix()] = Path(parent, name).lstat()
            if len(found) > limits.members:
                raise fatal(f"more than {limits.members:,} files", remedy="split the data set")
    return found


def _source(folder: Path, stamps: _Stamps) -> Path:
    """What to open: the folder, or the one file (NPZ, archive) that it holds."""
    if len(stamps) == 1 and "/" not in (only := next(iter(stamps))) and stat.S_ISREG(stamps[only].st_mode):
        return folder / only
    return folder


def _listing(folder: Path, stamps: _Stamps, limits: Limits) -> bytes:
    size = sum(row.st_size for row in stamps.values())
    if size > limits.total_bytes:
        raise fatal(f"more than {limits.total_bytes:,} bytes of content", remedy="split the data set")
    lines = []
    for name in sorted(stamps):
        digest = _NO_FILE
        if stat.S_ISREG(stamps[name].st_mode):
            with damage_reported(names.printable(name)), open_beneath(folder, name) as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        line = name.replace("\n", "\\n")  # such a name is refused by who reads the images
        lines.append(f"{digest} {stamps[name].st_size} {line}\n")
    return "".join(lines).encode(errors="surrogateescape")


def _check_still(folder: Path, before: _Stamps, limits: Limits) -> None:
    def key(row: os.stat_result) -> tuple[int, ...]:
        return row.st_mode, row.st_dev, row.st_ino, row.st_size, row.st_mtime_ns, row.st_ctime_ns

    if {name: key(row) for name, row in before.items()} != {
        name: key(row) for name, row in _stamps(folder, limits).items()
    }:
        raise DatasetChangedError("the folder was written to while it was read; try again when nobody writes to it")


def _changed(pinned: bytes, found: bytes) -> DatasetChangedError:
    then, now = _files(pinned), _files(found)
    kinds = {
        "changed": sorted(name for name in then.keys() & now.keys() if then[name] != now[name]),
        "added": sorted(now.keys() - then.keys()),
        "removed": sorted(then.keys() - now.keys()),
    }
    told = [
        f"{len(files)} {kind} ({', '.join(names.printable(name) for name in files[:_NAMED])}"
        + (", …)" if len(files) > _NAMED else ")")
        for kind, files in kinds.items()
        if files
    ]
    return DatasetChangedError(
        f"the folder is not what was looked through: files {'; '.join(told)}. Put them back, or make a new data set of "
        "the folder and train on that"
    )


def _files(listing: bytes) -> Mapping[str, str]:
    """Name to digest and size."""
    rows = (line.split(" ", 2) for line in listing.decode(errors="surrogateescape").split("\n") if line)
    return {name: f"{digest} {size}" for digest, size, name in rows}
