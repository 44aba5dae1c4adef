"""Opens files of a folder that others may write to: no name leads out of it, whatever becomes a link meanwhile."""

from __future__ import annotations

import os
import stat
from io import BufferedReader, FileIO
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Not waiting for anybody: a pipe that took the place of a file would keep the reader for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_beneath(root: Path, name: str) -> BufferedReader:
    """Open the regular file ``name`` (components separated by slashes) below ``root`` for reading.

    Each component is opened by itself and none that is a link is followed; ``root`` may be one.

    Raises:
        OSError: it is not there, a component is a link, or it is no regular file.
    """
    *folders, last = name.split("/")
    if not last or {".", "..", ""} & set(folders) or last in {".", ".."}:
        raise OSError(f"{name!r} is no name of a file below a folder")
    here = os.open(root, _FOLDER)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = inner
        descriptor = os.open(last, _FILE, dir_fd=here)
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{name!r} is no regular file")
    return BufferedReader(FileIO(descriptor))
