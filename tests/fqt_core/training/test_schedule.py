"""The learning rate over a run, at its corners."""

from __future__ import annotations

import pytest

from fqt_core.errors import ConfigurationError
from fqt_core.training.schedule import Schedule

from .nets import config, network, train


def factors(warmup: int = 0, total: int = 10, **options: object) -> list[float]:
    schedule = Schedule.of(config(epochs=1, warmup_steps=warmup, **options), total)
    return [schedule.factor(step) for step in range(total)]


def test_cosine() -> None:
    found = factors()
    assert found[0] == 1
    assert found[5] == pytest.approx(0.5)
    assert found[9] == pytest.approx((1 - 0.9510565162951535) / 2)  # cos(0.1 π)
    assert found == sorted(found, reverse=True)


def test_linear_decay_would_reach_zero_one_step_after_the_last() -> None:
    assert factors(schedule="linear") == pytest.approx([1 - step / 10 for step in range(10)])


def test_constant() -> None:
    assert set(factors(schedule="constant")) == {1.0}


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
def test_warmup_rises_evenly_to_the_full_rate_and_the_decay_follows(shape: str) -> None:
    found = factors(warmup=4, total=14, schedule=shape)
    assert found[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert found[4:] == factors(total=10, schedule=shape)


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (1, 10), (0.24, 2), (0.0, 0)])
def test_warmup_in_epochs_is_rounded_to_steps(epochs: float, steps: int) -> None:
    assert Schedule.of(config(epochs=2, warmup_epochs=epochs), 10).warmup == steps


def test_a_warmup_as_long_as_the_run_is_refused() -> None:
    assert Schedule.of(config(epochs=2, warmup_steps=19), 10).factor(19) == 1
    with pytest.raises(ConfigurationError, match="warmup_steps: 20 steps of warm-up in a run of 20"):
        Schedule.of(config(epochs=2, warmup_steps=20), 10)


def test_the_trainer_steps_with_it() -> None:
    wanted = config(schedule="linear", warmup_epochs=1, epochs=2)
    found = [event.learning_rate for event in train(network(), wanted) if event.type == "step"]
    assert found == pytest.approx([5e-3 * f for f in (1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 0.8, 0.6, 0.4, 0.2)])
