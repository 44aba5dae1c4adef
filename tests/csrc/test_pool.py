"""The threads that help with a kernel's work, by themselves: every item once, whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.csrc.sanitized import by_sanitizers, run_sanitized


@pytest.mark.timeout(300)
@by_sanitizers
def test_every_item_is_taken_once(sanitizer: str, argument: str, tmp_path: Path) -> None:
    """Also by several callers, by work within work, after a failure, and in a child process."""
    run_sanitized("pool", sanitizer, argument, tmp_path)
