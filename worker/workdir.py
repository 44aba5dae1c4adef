"""The folder of one child: made for an attempt, locked while its supervisor lives, removed afterwards."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"
_UNLOCKED_SECONDS = 60.0
"""A folder that has had no lock for so long is not just being made: its supervisor died."""


@contextmanager
def workdir(root: Path, name: str) -> Iterator[Path]:
    """Make a folder that is ours until the block ends."""
    folder = root / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep(root: Path) -> int:
    """Remove the folders of supervisors that died; return how many."""
    removed = 0
    for folder in root.iterdir() if root.is_dir() else []:
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _UNLOCKED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its supervisor lives
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
        finally:
            os.close(descriptor)
    return removed
