"""One child process of the embedded service: its own session, its own log file, and a leash to this process."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from service import leash

FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
STEADY_SECONDS = 60.0
LOG_BYTES = 16 * 2**20


class Child:
    """A command that is kept running.

    It is in a session of its own, so that Ctrl-C in a terminal reaches only this process, which then stops its
    children in order. It is killed by the kernel when this process dies. Start it from the main thread: the kernel
    counts the death of the starting thread.

    Args:
        name: name for people, and of the log file.
        command: the program and its arguments.
        environment: the whole environment of the child.
        log: file that its stdout and stderr are added to.
        given: text for its stdin, which is closed after it; None: no stdin. Keeps secrets out of the process list.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        given: str | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._given = given
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._started = 0.0
        self._failures = 0
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> str:
        """How it ended, in words."""
        code = self._process.returncode if self._process is not None else None
        if code is None:
            return "runs"
        if code < 0:
            try:
                return f"was ended by {signal.Signals(-code).name}"
            except ValueError:
                return f"was ended by signal {-code}"
        return f"ended with exit code {code}"

    def start(self) -> None:
        """Start it.

        Raises:
            OSError: the log cannot be written, or there are no more processes.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".old.log"))
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-I", leash.__file__, str(os.getpid()), *self._command],
                env=self._environment,
                stdin=subprocess.DEVNULL if self._given is None else subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started = time.monotonic()
        if self._given is not None and self._process.stdin is not None:
            with self._process.stdin as stdin:
                stdin.write(self._given.encode())

    def restart_when_due(self) -> float | None:
        """Look after a child that has ended: plan its restart, or do it when the time has come.

        Returns:
            Seconds until the restart if it was planned just now, else None.
        """
        now = time.monotonic()
        if self._not_before == 0.0:
            if now - self._started > STEADY_SECONDS:
                self._failures = 0
            delay = min(LONGEST_DELAY, FIRST_DELAY * 2.0**self._failures)
            self._failures += 1
            self._not_before = now + delay
            return delay
        if now >= self._not_before:
            self._not_before = 0.0
            self.start()
        return None

    def trim_log(self) -> None:
        """Put a log that has grown long aside, in place of the one that was put aside before. It is written on to."""
        with contextlib.suppress(OSError):
            if self.log.stat().st_size > LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_suffix(".old.log"))
                os.truncate(self.log, 0)  # the child appends: what it writes next is at the beginning
                self._log_start = 0

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        if self._process is not None and self.running:
            self._process.terminate()

    def kill(self) -> None:
        """End its whole process group at once."""
        if self._process is not None and self._process.poll() is None:
            # The child leads its group (a session of its own); while it runs, the group's id cannot be another's.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_lines(self, count: int = 8) -> list[str]:
        """The last lines that it wrote since its last start."""
        try:
            with self.log.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(self._log_start if self._log_start <= size else 0, size - 16384))
                text = stream.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return [line for line in text.splitlines() if line.strip()][-count:]
