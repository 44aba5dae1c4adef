"""Two divisions of a small run."""

from __future__ import annotations

import pytest

from benchmarks.parallel import Division, compare, table
from benchmarks.setting import Setting


def test_divisions_are_compared_with_the_first() -> None:
    divisions = (Division(1, 1), Division(2, 1, 4))
    one, two = compare(divisions, Setting("convnet", 8, 8), "qat", 2, 1)
    assert (one["processes"], one["speedup"], one["bytes_sent"]) == (1, 1, 0)
    assert two["speedup"] == pytest.approx(two["images_per_second"] / one["images_per_second"])
    assert 7 < two["full_precision_bytes"] / two["bytes_sent"] < 8
    assert table([one, two]).splitlines()[2].startswith("| 1 x 1 |  | ")
    assert table([one, two]).splitlines()[3].startswith("| 2 x 1 | 4 | ")
