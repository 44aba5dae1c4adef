"""The memory that a process keeps, by itself: no block lent twice, none lost, and no more of them than is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.csrc.sanitized import run_sanitized

HERE = Path(__file__).parent
MEMORY = HERE.parents[1] / "csrc" / "cpu" / "memory.cpp"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("sanitizer", "argument"), [("thread", ""), ("address,undefined", "fork")])
def test_blocks_are_lent_once_at_a_time(sanitizer: str, argument: str, tmp_path: Path) -> None:
    """Also to several threads, in a child process, and when memory is kept while blocks are lent.

    The sanitizer of threads follows no fork of a process that has several.
    """
    run_sanitized([HERE / "run_memory.cpp", MEMORY], sanitizer, argument, tmp_path)
