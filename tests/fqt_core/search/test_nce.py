"""The search itself, on small networks: events, budgets, repetition, and that it expands what needs width."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from fqt_core.config import ARCHITECTURES, ArchitectureConfig, Convnet, Method, Nce, TrainConfig, Vgg16
from fqt_core.config.plan import layer_plan
from fqt_core.config.search import obstacles
from fqt_core.data.dataset import ImageDataset
from fqt_core.errors import ConfigurationError, StopRequestedError
from fqt_core.events import Started, StructureFound, WidthsSearched
from fqt_core.layers import BinaryConv2d
from fqt_core.models import build
from fqt_core.search import search_widths
from fqt_core.search.supernet import Stage, Supernet
from fqt_core.training.session import prepare

NET = Convnet(width=0.5, image_size=8, channels=1)
TRAINING = TrainConfig(epochs=4, batch_size=16, learning_rate=0.01, validation_fraction=0)


def _data(images: int = 96, classes: int = 3, size: int = 8) -> ImageDataset:
    draw = np.random.default_rng(3)
    labels = np.arange(images) % classes
    shapes = draw.integers(0, 2, (classes, 1, size, size)) * 120
    pixels = (shapes[labels] + draw.integers(0, 120, (images, 1, size, size))).astype(np.uint8)
    return ImageDataset(pixels, labels.astype(np.int64), [f"c{n}" for n in range(classes)])


def _run(architecture: ArchitectureConfig = NET, training: TrainConfig = TRAINING, **options: Any) -> list[Any]:
    search = Nce(**{"structure_learning_rate": 0.2} | options)
    return list(
        search_widths(architecture=architecture, method=Method("qat"), search=search, training=training, data=_data())
    )


def test_a_search_tells_every_step_and_finds_a_network_within_its_budgets() -> None:
    events = _run(macs_budget=0.8, parameters_budget=0.9, threshold=0.2)
    kinds = [event.type for event in events]
    assert (kinds[0], kinds[-2:]) == ("started", ["structure", "done"])
    assert (kinds.count("step"), kinds.count("epoch"), kinds.count("search")) == (24, 4, 9)  # an epoch of warm-up
    started, found = events[0], events[-2]
    assert isinstance(started, Started)
    assert isinstance(found, StructureFound)
    assert started.arithmetic == "simulated"
    before = layer_plan(NET, 3)
    network = Convnet.model_validate(found.architecture)
    after = layer_plan(network, 3)
    assert (found.macs, found.parameters) == (after.macs, after.parameters)
    assert sum(p.numel() for p in build(network, num_classes=3).parameters()) == found.parameters
    assert found.macs <= 0.8 * before.macs
    assert found.parameters <= 0.9 * before.parameters
    assert list(found.widths.values()) == network.widths
    assert found.widths.keys() == {layer.name for layer in before if layer.kind == "conv2d"}
    told = [event for event in events if isinstance(event, WidthsSearched)]
    widest = [sum(row["widest"] for name, row in event.layers.items() if name != "network") for event in told]
    assert widest[0] < widest[-1]  # something was expanded
    for event in told:
        assert set(event.layers) == {*found.widths, "network"}
        assert all(0 < row["widest_probability"] < 1 for name, row in event.layers.items() if name != "network")


def test_the_same_search_finds_the_same_and_another_seed_draws_others() -> None:
    first, again = _run(), _run()
    for one, other in zip(first, again, strict=True):
        if one.type == "search":
            assert one == other
    assert first[-2] == again[-2]
    other = _run(training=TRAINING.model_copy(update={"seed": 1}))
    assert [event.loss for event in other if event.type == "step"] != [e.loss for e in first if e.type == "step"]


def test_the_network_that_is_found_is_trained_as_an_ordinary_one() -> None:
    network = ARCHITECTURES["convnet"].model_validate(_run()[-2].architecture)
    session = prepare(architecture=network, method=Method("fqt"), training=TRAINING, data=_data(), device="cpu")
    assert [event.type for event in session.trainer][-1] == "done"


def test_tight_budgets_press_widths_down_and_wide_ones_do_not() -> None:
    """The last share of a budget that is told, with the loss of the budgets and without it."""
    longer = TRAINING.model_copy(update={"epochs": 8})
    shares = {
        weight: [
            event for event in _run(training=longer, macs_budget=0.5, budget_weight=weight) if event.type == "search"
        ][-1].layers["network"]["macs_of_budget"]
        for weight in (0.0, 20.0)
    }
    assert shares[20.0] < 0.9 * shares[0.0]


def test_a_layer_that_needs_channels_is_expanded_and_one_that_does_not_is_not() -> None:
    """Scores that were made to prefer the widest or the narrowest choice of a layer; everything else is the rule."""
    stage = Supernet(NET, 3, Nce()).stages[1]
    assert isinstance(stage, Stage)
    begin = stage.active
    with torch.no_grad():
        stage.scores[begin - 1] = 3.0
    stage.expand()
    assert stage.active == begin + 1
    assert stage.probabilities[-1] == stage.probabilities[-2]
    assert stage.choices[stage.active - 1] == stage.choices[begin - 1] + 8


def test_a_stage_with_one_choice_is_the_binarised_layer_with_its_normalisation() -> None:
    """Forward and the gradients of input and weights against the library's own binarised convolution."""
    torch.manual_seed(0)
    stage = Supernet(NET, 3, Nce()).stages[2].train()
    assert isinstance(stage, Stage)
    place = stage.active - 1
    width, inputs = stage.choices[place], 16
    x = torch.randn(4, inputs, 8, 8, requires_grad=True)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, inputs, 1), build(NET, num_classes=3).blocks[1].conv, torch.nn.Conv2d(width, 1, 1)
    )
    from fqt_core.convert import convert_

    with torch.no_grad():
        model[1].weight.copy_(stage.weight[:width, :inputs])
    convert_(model, Method("qat"))
    layer = model[1]
    assert isinstance(layer, BinaryConv2d)
    y = x.detach().clone().requires_grad_()
    ours, theirs = stage(x, [place]), functional.batch_norm(layer(y), None, None, training=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    direction = torch.randn_like(ours)
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=1e-4)
    assert stage.weight.grad is not None
    torch.testing.assert_close(stage.weight.grad[:width, :inputs], layer.weight.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "method", "field"),
    [
        ({"name": "resnet18"}, "qat", "architecture.name"),
        ({"name": "convnet", "shortcuts": True}, "qat", "architecture.shortcuts"),
        ({"name": "vgg16", "stem": "imagenet"}, "qat", "architecture.stem"),
        ({"name": "convnet"}, "fp32", "method.name"),
        ({"name": "convnet"}, "unified-int8", "method.name"),
    ],
)
def test_what_cannot_be_searched_is_named(architecture: dict[str, Any], method: str, field: str) -> None:
    network = ARCHITECTURES[architecture["name"]].model_validate(architecture)
    assert list(obstacles(network, Method(method))) == [field]
    with pytest.raises(ConfigurationError, match=field):
        next(search_widths(architecture=network, method=Method(method), search=Nce(), training=TRAINING, data=_data()))


def test_a_budget_that_nothing_fits_is_refused_and_a_stop_is_heeded() -> None:
    with pytest.raises(ConfigurationError, match="even with each layer's narrowest choice"):
        _run(macs_budget=0.1, choices=2)
    asked = iter([False, False, True])
    run = search_widths(
        architecture=Vgg16(width=0.0625, image_size=8, channels=1),
        method=Method("fqt"),
        search=Nce(warmup_epochs=0),
        training=TRAINING,
        data=_data(),
        should_stop=lambda: next(asked),
    )
    with pytest.raises(StopRequestedError):
        for _ in run:
            pass
