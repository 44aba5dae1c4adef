"""``python -m benchmarks.busy``: works for 0.3 ms, sleeps for 3, and so on, as a server or a desktop does meanwhile."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.pipes import ROOT

_WORK_SECONDS, _REST_SECONDS = 0.3e-3, 3e-3


@contextmanager
def working_now_and_then() -> Iterator[None]:
    """While this lasts, such a process runs; it ends with this one, however that ends."""
    with subprocess.Popen([sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    """The command; it ends with its input."""
    while not select.select([sys.stdin], [], [], _REST_SECONDS)[0]:
        begin = time.perf_counter()
        while time.perf_counter() - begin < _WORK_SECONDS:
            pass


if __name__ == "__main__":
    main()
