"""Decides when a child is asked to end, and why: what the user wants, what the worker wants, and the job's limits."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.records import Job
from jobs.settings import Settings
from jobs.states import JobState
from worker.protocol import Word

_MEASURE_SECONDS = 1.0
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are


@dataclass(frozen=True)
class Request:
    """Why a child is asked to end, and in which word. ``code`` and what follows: the failure that it means, if any."""

    word: Word
    reason: str
    code: str | None = None
    message: str = ""
    param: str | None = None


CANCEL = Request(Word.CANCEL, "cancelled")
PAUSE = Request(Word.STOP, "paused")
DRAIN = Request(Word.STOP, "worker_drained")


class Overseer:
    """Watches over one attempt from its beginning. Its clock runs from when it is made."""

    def __init__(self, job: Job, settings: Settings, draining: threading.Event, folder: Path) -> None:
        self._job = job
        self._settings = settings
        self._draining = draining
        self._folder = folder
        self._began = time.monotonic()
        self._measured = self._began
        limits = (job.spec.timeout_seconds, settings.max_job_seconds)
        self._seconds = min((limit for limit in limits if limit is not None), default=None)

    def wanted(self, state: JobState) -> Request | None:
        """What is to be asked of the child now, for a job that is in ``state``; ``None``: it may go on."""
        if state is JobState.CANCELLING:
            return CANCEL
        if (limit := self.out_of_time() or self._out_of_disk()) is not None:
            return limit
        if state is JobState.PAUSING:
            return PAUSE
        return DRAIN if self._draining.is_set() else None

    def out_of_time(self) -> Request | None:
        """The request to end because the job has run for as long as it may."""
        if self._seconds is None or self._job.ran_seconds + time.monotonic() - self._began <= self._seconds:
            return None
        ceiling = self._settings.max_job_seconds
        raised = "raise timeout_seconds" if ceiling is None else f"raise timeout_seconds (at most {ceiling:g} here)"
        message = (
            f"the job ran for longer than its {self._seconds:g} seconds; train for fewer epochs, or {raised} and "
            "submit it again"
        )
        return Request(Word.CANCEL, "time_limit", "time_limit", message, "timeout_seconds")

    def _out_of_disk(self) -> Request | None:
        """The request to end because the child keeps too much in its folder. Measures now and then only."""
        instant = time.monotonic()
        if instant - self._measured < _MEASURE_SECONDS:
            return None
        self._measured = instant
        used, allowed = folder_bytes(self._folder), self._settings.child_disk_bytes
        return out_of_disk(used, allowed) if used > allowed else None


def out_of_disk(used: int, allowed: int) -> Request:
    """The request to end because of so many bytes in the child's folder."""
    message = (
        f"training keeps {used} bytes on the worker's disk, and {allowed} are allowed; use a smaller width, or give "
        "the jobs of the worker more (FQT_CHILD_DISK_BYTES)"
    )
    return Request(Word.CANCEL, "out_of_disk", "out_of_disk", message)


def folder_bytes(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk. Files that come and go meanwhile are no error."""
    found: dict[int, int] = {}  # a file of two names is there once
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                status = Path(parent, name).lstat()
                found[status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return sum(found.values())
