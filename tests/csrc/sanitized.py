"""Programs of C++ that check some of the kernels' own ground, built with a sanitizer."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.programs import program


def run_sanitized(sources: Sequence[Path], sanitizer: str, argument: str, folder: Path) -> None:
    """Build the sources in ``folder`` and run them; they end with 0, and the sanitizer has nothing to say."""
    executable = folder / "program"
    flags = ["-std=c++17", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-fsanitize={sanitizer}"]
    command = [program("c++", "g++"), *flags, *sources, "-o", executable]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    environment = {
        **os.environ,
        "ASAN_OPTIONS": "allocator_may_return_null=1",
        "TSAN_OPTIONS": "allocator_may_return_null=1",
    }
    done = subprocess.run([executable, argument], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-5000:])
