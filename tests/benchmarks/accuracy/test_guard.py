"""A guard: networks still learn. The protocol "digits", two seeds, against bounds that a biased quantiser fails.

The bounds are four points or more below what was measured (five seeds, see ``docs/accuracy.md``), several times the
deviation of a mean of two seeds; rounding that is biased loses fifteen points and more.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy.data import prepare
from benchmarks.accuracy.points import POINTS
from benchmarks.accuracy.protocols import PROTOCOLS
from fqt_core import ops
from fqt_core.config import MethodConfig, TrainConfig
from fqt_core.events import Done
from fqt_core.ops import rounding
from fqt_core.ops.hwnc import gradient
from fqt_core.training import session
from tests.fqt_core.test_unbiased import kernels

pytestmark = pytest.mark.slow

PROTOCOL = PROTOCOLS["digits"]
RATE = 6e-3
SEEDS = (0, 1)
AT_LEAST = {"qat": 93, "psq8": 92, "psq4": 92, "systematic": 87, "bernoulli": 86, "pixel-dither": 90}
"""Percent of the validation images, mean over seeds."""


def _train(
    method: MethodConfig, training: TrainConfig, data: Path, classes: tuple[str, ...], start: Path | None, out: Path
) -> float:
    torch.set_num_threads(1)
    run = session.prepare(
        architecture=PROTOCOL.networks["plain"],
        method=method,
        training=training.model_copy(update={"telemetry_every_steps": 0}),
        data=data,
        classes=classes,
        initial_weights=start,
        device="cpu",
    )
    (accuracy,) = [event.validation_accuracy for event in run.run(out) if isinstance(event, Done)]
    return 100 * (accuracy or 0)


class Digits:
    """Pre-trained networks, one per seed, and what they become."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data: list[Path] = []
        for seed in SEEDS:
            parts = prepare(PROTOCOL, 16, seed, folder)
            _train(
                POINTS["qat"].method, PROTOCOL.pretraining(seed), parts.before, PROTOCOL.before, None, self._start(seed)
            )
            self._data.append(parts.after)

    def _start(self, seed: int) -> Path:
        return self._folder / f"start-{seed}"

    def accuracy(self, name: str) -> float:
        """Of a point of the benchmark, in percent: the mean over seeds."""
        return statistics.mean(
            _train(
                POINTS[name].method,
                PROTOCOL.fine_tuning(seed, RATE),
                data,
                PROTOCOL.after,
                self._start(seed) / "weights.safetensors",
                self._folder / f"{name}-{seed}",
            )
            for seed, data in zip(SEEDS, self._data, strict=True)
        )


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(tmp_path_factory.mktemp("digits"))


@pytest.mark.parametrize("name", AT_LEAST)
def test_networks_learn(name: str, digits: Digits) -> None:
    assert digits.accuracy(name) >= AT_LEAST[name]


@pytest.mark.parametrize("name", ["psq4", "systematic"])
def test_the_bounds_catch_rounding_that_is_biased(name: str, digits: Digits, monkeypatch: pytest.MonkeyPatch) -> None:
    uniform = rounding.uniform
    monkeypatch.setattr(rounding, "uniform", lambda *key: torch.zeros_like(uniform(*key)))
    monkeypatch.setattr(gradient, "quantize_groups", ops.OPERATIONS["quantize_groups"].reference)
    with kernels("reference"):
        assert digits.accuracy(name) < AT_LEAST[name] - 5
