"""The threads that help with a kernel's work, by themselves: every item once, whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.csrc.sanitized import run_sanitized

HERE = Path(__file__).parent
POOL = HERE.parents[1] / "csrc" / "cpu" / "pool.cpp"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("sanitizer", "argument"), [("thread", ""), ("address,undefined", "fork")])
def test_every_item_is_taken_once(sanitizer: str, argument: str, tmp_path: Path) -> None:
    """Also by several callers, by work within work, after a failure, and in a child process.

    The sanitizer of threads follows no fork of a process that has several.
    """
    run_sanitized([HERE / "run_pool.cpp", POOL], sanitizer, argument, tmp_path)
