"""One child process in a session of its own: started, spoken to, listened to, and ended together with its group."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from pydantic import ValidationError

import worker
from fqt_core.config.malloc import for_training
from fqt_core.config.threads import WAITING
from fqt_core.events import LogLine
from worker.buffer import EventBuffer
from worker.protocol import Word, parse_message

_log = structlog.stdlib.get_logger(__name__)

_LONGEST_LINE = 16 * 2**20
_TAIL_BYTES = 8192
_TAIL_LINES = 20
_LOOK_SECONDS = 0.2

# What a child inherits of the environment: how to run, never credentials or addresses.
_INHERITED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "FQT_ISA",
    "FQT_WORTHWHILE",
    "FQT_CODE_PAGES",
    "GLIBC_TUNABLES",
    "SYSTEMROOT",
)
_INHERITED_PREFIXES = ("CUDA_", "NVIDIA_", "PYTHON", "COVERAGE_")


def child_command(module: str) -> list[str]:
    """The command that runs a module as a child; ``-P``: nothing is imported from the present folder."""
    return [sys.executable, "-P", "-m", module]


def child_environment(home: Path, threads: int, source: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child: what it needs to run and nothing that it could give away."""
    kept = {name: value for name, value in source.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)}
    packages = str(Path(worker.__file__).parents[1])
    paths = [packages, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return for_training(kept) | {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        **WAITING,
    }


class Child:
    """A running child. Its messages arrive in ``buffer``, which closes when it has closed its end of the pipe."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.buffer = EventBuffer()
        self._log_path = folder / "log.txt"
        read_end, write_end = os.pipe()
        try:
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [*command, str(folder), "--events", str(write_end)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(write_end,),
                    start_new_session=True,
                    env=dict(environment),
                )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._reader = threading.Thread(target=self._read, args=(read_end,), name=f"events-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group and session."""
        return self._process.pid

    def say(self, word: Word) -> None:
        """Tell the child something; one that has ended does not listen, which is no error."""
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(f"{word}\n".encode())
            self._process.stdin.flush()

    def write(self, data: bytes, deadline: float) -> None:
        """Hand bytes to a child that reads them from its stdin, until ``deadline`` on the monotonic clock.

        Raises:
            OSError: it has ended, or does not read (a ``TimeoutError``).
        """
        assert self._process.stdin is not None
        descriptor = self._process.stdin.fileno()
        os.set_blocking(descriptor, False)
        left = memoryview(data)
        while left:
            if time.monotonic() > deadline:
                raise TimeoutError
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(descriptor, left) :]
                continue
            select.select([], [descriptor], [], _LOOK_SECONDS)

    def ended(self) -> bool:
        """Whether the child itself has ended. Its id stays taken until :meth:`finish`, so signals reach no stranger."""
        if self._process.returncode is not None:
            return True
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child's whole group."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """End the whole group at once. May be called from any thread, any number of times."""
        self.signal(signal.SIGKILL)
        self.buffer.close()

    def finish(self, grace_seconds: float) -> int:
        """Wait so long for the child, end what is left of its group; return its exit code (negative: a signal)."""
        deadline = time.monotonic() + grace_seconds
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.005)
        self.signal(signal.SIGKILL)
        code = self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._reader.join()
        return code

    def log_tail(self) -> list[str]:
        """The last lines that the child printed."""
        with contextlib.suppress(OSError), self._log_path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _TAIL_BYTES))
            return log.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return []

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, "rb") as pipe:
            while line := pipe.readline(_LONGEST_LINE):
                try:
                    self.buffer.put(parse_message(line))
                except ValidationError:
                    _log.warning("child said something that is no event", line=line[:200].decode(errors="replace"))
                    message = "the training process sent a line that could not be read; it was left out"
                    self.buffer.put(LogLine(level="warning", message=message))
        self.buffer.close()
