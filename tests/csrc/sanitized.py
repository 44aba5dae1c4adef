"""Programs of C++ that check some of the kernels' own ground, built with a sanitizer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.programs import program

_ROOT = Path(__file__).resolve().parents[2]

by_sanitizers = pytest.mark.parametrize(("sanitizer", "argument"), [("thread", ""), ("address,undefined", "fork")])
"""The sanitizer of threads follows no fork of a process that has several."""


def run_sanitized(name: str, sanitizer: str, argument: str, folder: Path) -> None:
    """Build ``run_<name>.cpp`` with ``csrc/cpu/<name>.cpp`` in ``folder`` and run it.

    It ends with 0, and the sanitizer has nothing to say.
    """
    executable = folder / "program"
    sources = [_ROOT / "tests" / "csrc" / f"run_{name}.cpp", _ROOT / "csrc" / "cpu" / f"{name}.cpp"]
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
