"""Times to an accuracy, and curves."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.accuracy import child, curves
from tests.benchmarks.tables import squeezed


def _run(method: str, seed: int, *epochs: tuple[float, float]) -> dict[str, Any]:
    told = [{"cpu_seconds": seconds, "val": val} for seconds, val in epochs]
    return {"net": "vgg16", "method": method, "seed": seed, "epochs": told, "curve": [{"step": 1, "loss": 1.0}]}


FP32 = [_run("fp32", 0, (100, 0.7), (200, 0.9)), _run("fp32", 1, (120, 0.8), (240, 0.8))]
FQT = [_run("fqt", 0, (10, 0.6), (20, 0.8)), _run("fqt", 1, (10, 0.8), (20, 0.7))]


def test_the_time_to_an_accuracy_is_that_of_the_first_epoch_and_every_seed_must_get_there() -> None:
    assert curves.seconds_to(FP32, 0.8) == pytest.approx(160)
    assert curves.seconds_to(FQT, 0.8) == pytest.approx(15)
    assert curves.seconds_to(FQT, 0.81) is None
    assert curves.seconds_to(FP32, 0.9) is None


def test_ratios_are_to_full_precision() -> None:
    rows = [*FP32, *FQT, {"net": "vgg16", "method": "qat", "curve": None}]
    assert squeezed(curves.render(rows, (0.8, 0.9))).splitlines()[2:] == [
        "| vgg16 | `fp32` | 160 s (1.0x) | not reached |",
        "| vgg16 | `fqt` | 15 s (10.7x) | not reached |",
    ]
    assert squeezed(curves.render(FQT, (0.8,))).splitlines()[2:] == ["| vgg16 | `fqt` | 15 s |"]


def test_a_long_curve_is_thinned_to_means() -> None:
    steps = [(step, float(step % 2)) for step in range(1, 1001)]
    points = child.thinned(steps)
    assert len(points) <= 120
    assert points[-1]["step"] == 1000
    assert all(0.4 < point["loss"] < 0.6 for point in points[:-1])
    assert child.thinned(steps[:3]) == [{"step": step, "loss": float(step % 2)} for step in (1, 2, 3)]
    assert child.thinned([]) == []
