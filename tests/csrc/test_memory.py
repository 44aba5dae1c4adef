"""The memory that a process keeps, by itself: no block lent twice, none lost, and no more of them than is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.csrc.sanitized import by_sanitizers, run_sanitized


@pytest.mark.timeout(300)
@by_sanitizers
def test_blocks_are_lent_once_at_a_time(sanitizer: str, argument: str, tmp_path: Path) -> None:
    """Also to several threads, in a child process, and when memory is kept while blocks are lent."""
    run_sanitized("memory", sanitizer, argument, tmp_path)
