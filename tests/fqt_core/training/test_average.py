"""The running average of the weights: closed form, the model that is left, batch normalisation for it."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fqt_core.config import EmaConfig, Method, Resnet18, TrainConfig
from fqt_core.convert import convert_
from fqt_core.data.batches import TrainingData
from fqt_core.events import Done
from fqt_core.layers import BinaryLayer
from fqt_core.models import build
from fqt_core.training import Trainer, evaluate
from fqt_core.training.average import WeightAverage, averaged, reestimate

from .nets import config, network, pictures, sha256, train


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_the_average_is_its_closed_form() -> None:
    """Σ over all values of weight (1 - d_i) · Π of the later d_j; the initial one has the product of all d."""
    model = nn.Linear(3, 2)
    average = WeightAverage(model, 0.8)
    values = [torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) for i in range(60)]
    values.insert(0, model.weight.detach().double())
    for step, value in enumerate(values[1:], start=1):
        model.weight.data.copy_(value)
        average.update(step)
    decays = [min(0.8, step / (step + 9)) for step in range(1, len(values))]
    later = np.cumprod([1.0, *decays[::-1]])[::-1]
    weights = [later[0], *((1 - d) * after for d, after in zip(decays, later[1:], strict=True))]
    assert sum(weights) == pytest.approx(1)
    expected = sum(weight * value for weight, value in zip(weights, values, strict=True))
    assert torch.allclose(average.tensors()["weight"].double(), expected, atol=1e-6)  # type: ignore[arg-type]


def test_parameters_and_buffers_come_back() -> None:
    model = network("fqt")
    before = sha256(model)
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    average.update(1)
    changed = sha256(model)
    with averaged(model, average):
        assert sha256(model) not in {before, changed}
        images = [torch.ones(4, 1, 8, 8), torch.zeros(4, 1, 8, 8)]
        assert reestimate(model, images)
        for module in model.modules():
            if isinstance(module, BinaryLayer):  # the signs are those of the average, not what was known before
                assert torch.equal(module.weight >= 0, module.weight.detach().clone() >= 0)
    assert sha256(model) == changed
    assert all(module.momentum == 0.1 for module in model.modules() if isinstance(module, nn.BatchNorm2d))


@pytest.mark.parametrize("method", ["fp32", "fqt"])
def test_statistics_are_the_plain_mean_over_batches(method: str) -> None:
    model = network(method)
    batches = [torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(i)) * (i + 1) for i in range(3)]
    model.train()
    assert reestimate(model, batches)
    assert all(module.training for module in model.modules())
    inputs = [model[0](images) for images in batches]  # type: ignore[index]
    means = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    variances = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
    assert torch.allclose(model[1].running_mean, means, atol=1e-5)  # type: ignore[index]
    assert torch.allclose(model[1].running_var, variances, atol=1e-5)  # type: ignore[index]
    assert int(model[1].num_batches_tracked) == 3  # type: ignore[index]


def test_a_chain_of_blocks_gives_the_statistics_of_training() -> None:
    """The library's networks run as one function, with and without a graph."""
    model = build(Resnet18(width=0.125, image_size=8, channels=1), num_classes=3)
    convert_(model, Method("fqt"))
    again = copy.deepcopy(model)
    batches = [torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    assert reestimate(model, batches)
    for norm in (module for module in again.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
    for images in batches:
        again.train()(images)
    for (name, one), other in zip(model.named_buffers(), again.buffers(), strict=True):
        assert torch.equal(one, other), name
        assert not name.endswith("running_var") or not torch.equal(one, torch.ones_like(one)), name


def test_estimation_stops_when_asked() -> None:
    asked = iter([False, True])
    assert not reestimate(network(), [torch.ones(4, 1, 8, 8)] * 5, should_stop=lambda: next(asked))


@pytest.mark.parametrize("fraction", [0.2, 0.0])
@pytest.mark.parametrize("method", ["fp32", "fqt"])
def test_what_remains_is_the_average_of_the_weights_after_each_step(method: str, fraction: float) -> None:
    wanted = config(epochs=1, ema=EmaConfig(decay=0.7, batches=2), validation_fraction=fraction)
    plain = network(method)
    trainer = Trainer(plain, pictures(), wanted.model_copy(update={"ema": None}))
    average = {name: p.detach().double().clone() for name, p in plain.named_parameters()}
    for event in trainer:
        if event.type == "step":
            keep = min(0.7, event.step / (event.step + 9))
            for name, p in plain.named_parameters():
                average[name] = keep * average[name] + (1 - keep) * p.detach().double()
    model = network(method)
    events = train(model, wanted)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.double(), average[name], atol=1e-6), name
    done = events[-1]
    assert isinstance(done, Done)
    data = TrainingData(pictures(), wanted)
    statistics = [buffer.clone() for _, buffer in model.named_buffers()]
    reestimate(model, [data.train_batch(0, index)[0] for index in range(2)])
    assert all(torch.equal(one, other) for one, other in zip(statistics, model.buffers(), strict=True))
    if fraction:
        result = evaluate(model, data.validation_batches(64))
        assert result is not None
        assert (result.accuracy, result.loss) == (done.validation_accuracy, done.validation_loss)


def test_training_itself_does_not_notice() -> None:
    def losses(wanted: TrainConfig) -> list[float]:
        return [event.loss for event in train(network("fqt"), wanted) if event.type == "step"]

    assert losses(config(ema=EmaConfig())) == losses(config())


def test_a_checkpoint_without_an_average_is_of_another_run(tmp_path: Path) -> None:
    train(network(), config(epochs=1), checkpoint_dir=tmp_path)
    path = next(tmp_path.iterdir())
    with pytest.raises(Exception, match=r"training\.ema"):
        Trainer(network(), pictures(), config(epochs=1, ema=EmaConfig()), resume_from=path)
