"""A short run of what ``make fuzz`` does for long."""

from __future__ import annotations

import pytest

from tests.fuzz.run import fuzz


@pytest.mark.slow
def test_the_api_keeps_to_its_document() -> None:
    outcome = fuzz(1, examples=1, phases="examples,fuzzing,stateful")
    assert not outcome.failed, outcome.output
    assert outcome.requests > 100
