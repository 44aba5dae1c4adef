"""The threads that help with a kernel's work, by themselves: every item once, whatever happens meanwhile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.programs import program

HERE = Path(__file__).parent
POOL = HERE.parents[1] / "csrc" / "cpu" / "pool.cpp"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("sanitizer", "argument"), [("thread", ""), ("address,undefined", "fork")])
def test_every_item_is_taken_once(sanitizer: str, argument: str, tmp_path: Path) -> None:
    """Also by several callers, by work within work, after a failure, and in a child process.

    The sanitizer of threads follows no fork of a process that has several.
    """
    executable = tmp_path / "run_pool"
    flags = ["-std=c++17", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", "-pthread", f"-fsanitize={sanitizer}"]
    command = [program("c++", "g++"), *flags, HERE / "run_pool.cpp", POOL, "-o", executable]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    done = subprocess.run([executable, argument], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
