"""When the trainer probes, what it tells, and that it trains as if it did not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fqt_core.config import Method, MethodConfig, TrainConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.events import CheckpointWritten, GradientTelemetry, LogLine, WarningRaised, parse_event
from fqt_core.layers import BinaryLayer
from fqt_core.training import Trainer
from fqt_core.training.alarm import LEAST_COSINE, NoiseAlarm, remedies
from fqt_core.training.probe import DRAWS, GradientProbe
from fqt_core.training.telemetry import COST_SHARE, MOST_IMAGES, PROBE_COST, interval, probed_images

from .nets import config, network, pictures, sha256, stop_after, train

HOPELESS = {"bits": 1, "pruning": "systematic", "keep": 0.01}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("method", ["fqt", "psq", "qat"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_with_telemetry_ends_with_the_bits_of_one_without(method: str, optimizer: str) -> None:
    digests = []
    for every in (0, 1, 3):
        model = network(method)
        events = train(model, config(epochs=1, optimizer=optimizer, telemetry_every_steps=every))
        reports = [event.step for event in events if isinstance(event, GradientTelemetry)]
        assert reports == (list(range(1, 6, every)) if every else [])
        digests.append((sha256(model), [event.loss for event in events if event.type == "step"]))
    assert digests[0] == digests[1] == digests[2]


def test_reports_survive_json() -> None:
    report = next(event for event in train(network("fqt"), config(epochs=1)) if isinstance(event, GradientTelemetry))
    assert parse_event(report.model_dump_json()) == report
    assert report.images == MOST_IMAGES
    assert report.layers.keys() == {"2", "5"}


def test_full_precision_networks_are_not_probed() -> None:
    assert not [event for event in train(network("fp32"), config(epochs=1)) if event.type == "telemetry"]


@pytest.mark.parametrize("batch_size", [1, 2, 16, 50, 128, 1024, 4096])
@pytest.mark.parametrize("size", [8, 32, 64, 100, 224, 1024])
def test_probes_are_so_few_and_so_seldom_that_their_work_is_bounded(batch_size: int, size: int) -> None:
    images = probed_images(batch_size, size)
    assert images <= batch_size
    assert images <= 4 or images * size**2 <= 16 * 64**2
    every = interval(TrainConfig(batch_size=batch_size), images)
    work = images * PROBE_COST
    assert work <= COST_SHARE * batch_size * every
    assert work > COST_SHARE * batch_size * (every - 1)


def test_the_work_of_a_probe_is_what_its_bound_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two forward passes, one exact and DRAWS noisy backward passes, DRAWS local draws, all of MOST_IMAGES images."""
    seen: dict[str, list[int]] = {"forward": [], "backward": []}

    def backward(self: Any, _layer: Any, signs: torch.Tensor, *rest: Any) -> None:
        seen["backward"].append(len(signs))
        begin(self, _layer, signs, *rest)

    begin = vars(__import__("fqt_core.layers.function", fromlist=["LayerBackward"]).LayerBackward)["__init__"]
    monkeypatch.setattr("fqt_core.layers.function.LayerBackward.__init__", backward)
    model, data = network("fqt"), pictures(256)
    images = torch.from_numpy(data.images).float() / 255
    labels = torch.from_numpy(data.labels)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)}
    hook = model[0].register_forward_hook(lambda _module, inputs, _output: seen["forward"].append(len(inputs[0])))
    GradientProbe(model, layers).measure(images[:MOST_IMAGES], labels[:MOST_IMAGES], seed=0, step=0)
    hook.remove()
    # A layer's pass itself, and the probe's look at the weight's gradient (of the noisy passes).
    assert seen["backward"] == [MOST_IMAGES] * len(layers) * (1 + DRAWS + DRAWS + DRAWS)
    assert seen["forward"] == [MOST_IMAGES] * 2


def test_hopeless_noise_is_warned_of_once_per_layer_and_cause() -> None:
    events = train(network("fqt", **HOPELESS), config(telemetry_every_steps=1))
    warnings = [event.message for event in events if isinstance(event, WarningRaised)]
    assert warnings
    assert all(event.code == "gradient_noise" for event in events if isinstance(event, WarningRaised))
    assert len(warnings) <= 4
    assert "method.keep: 0.02" in warnings[0]
    assert not [e for e in train(network("psq", bits=8), config(telemetry_every_steps=1)) if e.type == "warning"]


def test_warnings_are_not_repeated_after_a_resume(tmp_path: Path) -> None:
    wanted = config(telemetry_every_steps=1)
    whole = train(network("fqt", **HOPELESS), wanted)
    first = stop_after(network("fqt", **HOPELESS), wanted, 6, tmp_path)
    written = first[-2]
    assert isinstance(written, CheckpointWritten)
    rest = train(network("fqt", seed=1, **HOPELESS), wanted, resume_from=written.path)

    def told(events: list[Any]) -> list[str]:
        return [event.message for event in events if isinstance(event, WarningRaised)]

    assert told(first)
    assert told(first) + told(rest) == told(whole)


def test_a_resumed_run_may_be_probed_at_another_interval(tmp_path: Path) -> None:
    written = stop_after(network("fqt"), config(), 3, tmp_path)[-2]
    assert isinstance(written, CheckpointWritten)
    rest = train(network("fqt"), config(telemetry_every_steps=0), resume_from=written.path)
    assert rest[-1].type == "done"
    assert not [event for event in rest if event.type == "telemetry"]


def test_a_probe_that_meets_infinity_does_not_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_arguments: Any, **_options: Any) -> None:
        raise NonFiniteGradientError("5", 1)

    monkeypatch.setattr(GradientProbe, "measure", measure)
    events = list(Trainer(network("fqt"), pictures(), config(epochs=1)))
    lines = [event.message for event in events if isinstance(event, LogLine)]
    assert lines
    assert all("no gradient telemetry at step" in line for line in lines)
    assert events[-1].type == "done"


def figures(own: float, accumulated: float) -> dict[str, float]:
    return {"dx_cosine": own, "dw_cosine": own, "accumulated_dx_cosine": own, "accumulated_dw_cosine": accumulated}


def alarm(model: nn.Module) -> NoiseAlarm:
    return NoiseAlarm({name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)})


def test_the_warning_tells_own_noise_from_that_of_others_and_names_the_layer_to_blame() -> None:
    low, high = LEAST_COSINE / 2, 0.5
    told: list[str] = []
    checked = alarm(network("fqt"))
    (first,) = checked.check({"2": figures(high, low), "5": figures(0.3, 0.3)}, told)
    assert "that reaches 2 is nearly all noise" in first.message
    assert "most is added by 5, 2" in first.message
    (second,) = checked.check({"2": figures(high, low), "5": figures(low, low)}, told)
    assert "quantising the gradient of 5 leaves next to nothing" in second.message
    assert told == ["accumulated/2", "own/5"]
    assert not list(checked.check({"2": figures(high, low), "5": figures(low, low)}, told))
    assert not list(checked.check({"2": figures(high, high), "5": {}}, []))


@pytest.mark.parametrize(
    ("method", "named"),
    [
        (Method("fqt", pruning="topk"), ["pruning: systematic", "keep: 0.5", "bits: 8"]),
        (Method("psq"), ["clip: 2", "method.bits: 4", "bits: 8"]),
        (Method("psq", bits=8), ["full precision"]),
    ],
)
def test_remedies_fit_the_method(method: MethodConfig, named: list[str]) -> None:
    told = "; ".join(remedies(method))
    assert all(remedy in told for remedy in named)
    assert ("keep" in told) == (method.name == "fqt")
