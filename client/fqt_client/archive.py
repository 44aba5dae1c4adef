"""Make one uploadable file of what the user has: a file stays as it is, a folder of class folders becomes a zip."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from fqt_client.errors import LocalFileError

ProgressCallback = Callable[[int, int], None]
"""Called with the bytes sent so far and their total."""

_EARLIEST = (1980, 1, 1, 0, 0, 0)


@contextmanager
def uploadable(path: Path) -> Iterator[tuple[Path, str]]:
    """Give the file to upload and the name to upload it under. A folder is zipped to a temporary file.

    Raises:
        LocalFileError: there is nothing at ``path``, or nothing in it, or something in it cannot be read.
    """
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:
        raise LocalFileError(f"cannot read {path}: {error.strerror}") from error
    if is_file:
        yield path, path.name
    elif is_folder:
        with tempfile.TemporaryDirectory(prefix="fqt-upload-") as folder:
            name = f"{path.resolve().name}.zip"
            target = Path(folder) / "upload.zip"
            try:
                zip_folder(path, target)
            except OSError as error:
                raise LocalFileError(f"cannot read {error.filename or path}: {error.strerror}") from error
            yield target, name
    else:
        raise LocalFileError(
            f"there is no file or folder {path}",
            remedy="name a folder with one folder of images per class, or an archive of one",
        )


def zip_folder(source: Path, target: Path) -> int:
    """Write every file below ``source`` to the zip ``target`` and return their number.

    The same files give the same bytes, so that the service recognises a data set that it has already. Hidden files are
    left out, and nothing else is. Images are compressed in themselves, so nothing is compressed again.

    Raises:
        LocalFileError: there is no file in it, or something that is neither a file nor a folder.
        OSError: a file or folder cannot be read, or the disk is full.
    """
    count = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for folder, subfolders, names in os.walk(source, onerror=_raise):
            here = Path(folder)
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            visible = sorted(name for name in names if not name.startswith("."))
            for path in (*(here / name for name in subfolders), *(here / name for name in visible)):
                _check(path)
            if here != source and not visible and not subfolders:
                # An empty class is the service's to report, so it must not vanish here.
                archive.writestr(zipfile.ZipInfo(f"{here.relative_to(source).as_posix()}/", _EARLIEST), b"")
            for name in visible:
                member = zipfile.ZipInfo((here / name).relative_to(source).as_posix(), _EARLIEST)
                member.external_attr = 0o644 << 16
                member.file_size = (here / name).stat().st_size
                with (here / name).open("rb") as reader, archive.open(member, "w") as writer:
                    while piece := reader.read(1 << 20):
                        writer.write(piece)
                count += 1
    if count == 0:
        raise LocalFileError(
            f"there are no files in {source}", remedy="make one folder per class in it, with that class's images"
        )
    return count


def _raise(error: OSError) -> NoReturn:
    """What cannot be listed must not be left out without a word: a class would be missing from the training."""
    raise error


def _check(path: Path) -> None:
    """Refuse what would be missing from the archive: a link to nothing or to a folder, a socket, a device."""
    if path.is_symlink() and path.is_dir():
        raise LocalFileError(
            f"cannot pack {path}: it is a link to a folder", remedy="put the folder itself there, or remove the link"
        )
    if not path.is_dir() and not path.is_file():
        what = "a link to nothing" if path.is_symlink() else "neither a file nor a folder"
        raise LocalFileError(f"cannot pack {path}: it is {what}", remedy="mend or remove it")


@contextmanager
def form(
    path: Path, filename: str, fields: Mapping[str, str], progress: ProgressCallback | None
) -> Iterator[Callable[[], Mapping[str, Any]]]:
    """Give what makes the form that uploads a file, anew for each try: the arguments ``files`` and ``data`` of httpx.

    Raises:
        LocalFileError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        stream = path.open("rb")
    except OSError as error:
        raise LocalFileError(f"cannot read {path}: {error.strerror}") from error
    with stream:

        def build() -> Mapping[str, Any]:
            stream.seek(0)
            reader = ReportingReader(stream, size, progress)
            return {"files": {"file": (filename, reader, "application/octet-stream")}, "data": fields}

        yield build


class ReportingReader:
    """A binary file that tells a callback how much of it has been read."""

    def __init__(self, stream: BinaryIO, total: int, callback: ProgressCallback | None) -> None:
        self._stream = stream
        self._total = total
        self._callback = callback

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes and report the new position."""
        piece = self._stream.read(size)
        if self._callback is not None:
            self._callback(self._stream.tell(), self._total)
        return piece

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to another position."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The present position."""
        return self._stream.tell()
