"""The trainer's events, the model that it leaves, and its errors."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fqt_core.config import AugmentConfig
from fqt_core.errors import ConfigurationError, FqtError, NonFiniteGradientError, NonFiniteLossError
from fqt_core.events import CheckpointWritten, Done, EpochDone, QuantizationStatistics, Started, StepDone, parse_event
from fqt_core.layers import BinaryLayer
from fqt_core.training import Trainer, evaluate, trainer

from .nets import CLASSES, config, network, pictures, sha256, train


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def of_type(events: list[Any], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_order_and_content_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SHARE", math.inf)
    events = train(network("fqt"), config(), checkpoint_dir=tmp_path, report=[{"name": "0"}])
    kinds = [event.type for event in events]
    one_epoch = [*["step"] * 5, "epoch", "checkpoint"]
    assert [kind for kind in kinds if kind not in {"quantization", "telemetry"}] == ["started", *one_epoch * 3, "done"]
    assert [parse_event(event.model_dump_json()) for event in events] == events
    started = events[0]
    assert isinstance(started, Started)
    assert started.model_dump(exclude={"isa"}) == {
        "type": "started",
        "step": 0,
        "total_steps": 15,
        "steps_per_epoch": 5,
        "epochs": 3,
        "train_images": 72,
        "validation_images": 18,
        "classes": CLASSES,
        "parameters": sum(parameter.numel() for parameter in network().parameters()),
        "binary_parameters": 2 * 8 * 8 * 9,
        "arithmetic": "integer",
        "threads": 1,
        "device": "cpu",
        "report": [{"name": "0"}],
    }
    steps = of_type(events, StepDone)
    assert [step.step for step in steps] == list(range(1, 16))
    assert steps[6].epoch == pytest.approx(7 / 5)
    assert all(step.images_per_second > 0 for step in steps)


def test_learning_rates_follow_the_schedule() -> None:
    cosine = [event.learning_rate for event in of_type(train(network(), config()), StepDone)]
    expected = [5e-3 * 0.5 * (1 + np.cos(np.pi * step / 15)) for step in range(15)]
    assert cosine == pytest.approx(expected)
    constant = of_type(train(network(), config(schedule="constant", epochs=1)), StepDone)
    assert {event.learning_rate for event in constant} == {5e-3}


@pytest.mark.parametrize("method", ["fp32", "qat", "fqt"])
def test_it_learns(method: str) -> None:
    events = train(network(method), config(epochs=10, learning_rate=1e-2, head_learning_rate=1e-2), pictures(300))
    done = events[-1]
    assert isinstance(done, Done)
    assert done.validation_accuracy is not None
    assert done.validation_accuracy > 0.6  # chance is a third


def test_the_best_epoch_is_what_remains() -> None:
    wanted = config(epochs=6, learning_rate=0.05, head_learning_rate=0.05, schedule="constant")
    model = network("qat")
    trainer = Trainer(model, pictures(150), wanted)
    digests, epochs = [], []
    for event in trainer:
        if isinstance(event, EpochDone):
            digests.append(sha256(model))
            epochs.append(event)
    best = int(np.argmax([epoch.validation_accuracy for epoch in epochs]))
    assert best < 5, "the test needs a run that is best before its end"
    assert [epoch.best for epoch in epochs] == [
        epoch.validation_accuracy > max([0, *(e.validation_accuracy for e in epochs[:index])])
        for index, epoch in enumerate(epochs)
    ]
    assert isinstance(event, Done)
    assert (event.best_epoch, event.epochs, event.reason) == (best + 1, 6, "completed")
    assert event.validation_accuracy == epochs[best].validation_accuracy
    assert event.train_accuracy == epochs[best].train_accuracy
    assert sha256(model) == digests[best]
    assert not model.training
    result = evaluate(model, trainer.data.validation_batches(64))
    assert result is not None
    assert (result.accuracy, result.loss) == (event.validation_accuracy, event.validation_loss)


def test_early_stopping() -> None:
    wanted = config(epochs=50, learning_rate=1e-9, head_learning_rate=1e-9, early_stopping_patience=2)
    done = train(network(), wanted)[-1]
    assert isinstance(done, Done)
    assert done.reason == "early_stopped"
    assert done.best_epoch is not None
    assert done.epochs == done.best_epoch + 2 < 50


def test_without_validation_the_last_epoch_is_kept_and_said() -> None:
    events = train(network(), config(epochs=2, validation_fraction=0, early_stopping_patience=1))
    assert [event.code for event in events if event.type == "warning"] == ["early_stopping_without_validation"]
    assert [(e.validation_loss, e.validation_accuracy, e.best) for e in of_type(events, EpochDone)] == [
        (None, None, False)
    ] * 2
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.best_epoch, done.validation_accuracy, done.epochs) == (None, None, 2)
    assert done.train_accuracy == of_type(events, EpochDone)[-1].train_accuracy


def test_warnings_of_the_data_are_passed_on() -> None:
    data = pictures()
    data.warnings.append("something is odd")
    assert train(network(), config(epochs=1), data)[1].model_dump() == {
        "type": "warning",
        "code": "data",
        "message": "something is odd",
    }


def test_statistics_say_what_each_layer_did() -> None:
    model = network("fqt")
    signs = {name: layer.weight >= 0 for name, layer in model.named_modules() if isinstance(layer, BinaryLayer)}
    flipped = dict.fromkeys(signs, 0.0)
    for event in Trainer(model, pictures(), config(learning_rate=0.05)):
        if isinstance(event, QuantizationStatistics):
            assert event.step % 4 == 0
            assert event.layers.keys() == signs.keys() == {"2", "5"}
            for name, row in event.layers.items():
                layer = model.get_submodule(name)
                now = layer.weight >= 0  # type: ignore[operator]
                assert row["flipped_share"] == pytest.approx((now != signs[name]).float().mean().item())
                assert 0 <= row["window_share"] <= 1
                assert row["kept_samples"] == 4  # a quarter of 16
                signs[name] = now
                flipped[name] += row["flipped_share"]
    assert min(flipped.values()) > 0
    events = train(network("fp32"), config())
    assert not of_type(events, QuantizationStatistics)


def test_latents_stay_clamped_and_layers_draw_by_seed_and_step() -> None:
    model = network("fqt")
    drawn = []
    trainer = Trainer(model, pictures(), config(optimizer="sgd", learning_rate=10, epochs=1, seed=11))
    for event in trainer:
        if isinstance(event, StepDone):
            drawn.append((model.fqt_state.seed, model.fqt_state.step))  # type: ignore[union-attr]
            assert all(m.weight.abs().max() <= 1 for m in model.modules() if isinstance(m, BinaryLayer))
    assert drawn == [(11, step) for step in range(5)]


def test_old_checkpoints_are_removed(tmp_path: Path) -> None:
    train(network(), config(checkpoint_every_steps=2), checkpoint_dir=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-000000012.safetensors",
        "checkpoint-000000014.safetensors",
    ]


def test_stop_without_a_place_for_checkpoints() -> None:
    events = train(network(), config(), should_stop=lambda: True)
    assert [event.type for event in events] == ["started", "stopped"]


def test_a_trainer_runs_once() -> None:
    trainer = Trainer(network(), pictures(), config(epochs=1))
    list(trainer)
    with pytest.raises(FqtError, match="once"):
        iter(trainer)


class Poison(nn.Module):
    """Gives NaN from the third training batch on, forwards or backwards."""

    def __init__(self, backwards: bool) -> None:
        super().__init__()
        self.backwards = backwards
        self.batches = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        if self.batches < 3:
            return x
        if not self.backwards:
            return x * float("nan")
        if x.requires_grad:
            x.register_hook(lambda gradient: gradient * float("inf"))
        return x


def test_non_finite_loss_names_layer_and_step() -> None:
    model = network("qat")
    model[7] = Poison(backwards=False)
    model[10] = nn.LazyLinear(3)
    model(torch.zeros(2, 1, 8, 8))
    with pytest.raises(NonFiniteLossError, match="layer '7'") as caught:
        train(model, config())
    assert (caught.value.layer, caught.value.step) == ("7", 1)


@pytest.mark.parametrize(("method", "layer"), [("fp32", "5"), ("fqt", "layer 2")])
def test_non_finite_gradient_names_layer_and_step_and_spares_the_weights(method: str, layer: str) -> None:
    model = network(method)
    model[6] = Poison(backwards=True)
    trainer = Trainer(model, pictures(), config(telemetry_every_steps=0))
    events = iter(trainer)
    for _ in range(3):
        next(events)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with pytest.raises(NonFiniteGradientError) as caught:
        next(events)
    assert (caught.value.layer, caught.value.step) == (layer, 2)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_impossible_runs_are_named() -> None:
    with pytest.raises(ConfigurationError, match="3 classes"):
        train(network(classes=4), config())
    with pytest.raises(ConfigurationError, match="pad_crop"):
        train(network(), config(augment=AugmentConfig(pad_crop=8)))
    with pytest.raises(ConfigurationError, match="no convolution or linear layer"):
        train(nn.Sequential(nn.BatchNorm2d(1)), config())
    flat = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(ConfigurationError, match=r"training\.batch_size"):
        train(flat, config(batch_size=1))


@pytest.mark.parametrize("best", [False, True])
def test_checkpoints_after_epochs_do_not_take_much_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: bool
) -> None:
    """The first is written; after it, here, only those that were asked for whatever they cost."""
    monkeypatch.setattr(trainer, "CHECKPOINT_SHARE", 1e-9)
    events = train(network("fqt"), config(epochs=4), checkpoint_dir=tmp_path, checkpoint_best=best)
    written = [event.step for event in events if isinstance(event, CheckpointWritten)]
    gains = [event.step for event in events if isinstance(event, EpochDone) and event.best]
    assert gains[0] == 5
    assert written == (gains if best else [5])
