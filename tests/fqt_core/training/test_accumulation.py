"""Micro-batches: how a batch is split, what the step is, and random numbers of their own."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from fqt_core.layers import BinaryLayer
from fqt_core.random import PhiloxKey
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.step import micro_batches, training_step

from .nets import config, network, train


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_every_image_is_in_one_part_and_parts_are_equal_as_can_be(
    size: int, accumulate: int, data: st.DataObject
) -> None:
    accumulate = min(size, accumulate)
    wanted = config(batch_size=size, accumulate=accumulate)
    images = data.draw(st.integers(1, size + 1 if size > 1 else 1))  # a single image that is left over joins the others
    count = wanted.micro_batches(images)
    parts = micro_batches(images, count)
    assert [index for part in parts for index in range(images)[part]] == list(range(images))
    sizes = [len(range(images)[part]) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= wanted.micro_batch_size + 1
    assert min(sizes) >= (1 if size < 2 * accumulate else min(images, 2))
    if images >= size:
        assert len(parts) == accumulate


def float_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))


def batch(count: int = 13) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(count) % 3


@pytest.mark.parametrize("parts", [13, 6, 2])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_without_normalisation_the_step_is_that_of_the_whole_batch(optimizer: str, parts: int) -> None:
    """Parts are of unequal size, so a mean of means would not do."""
    whole = float_network()
    split = copy.deepcopy(whole)
    found = []
    for model, count in ((whole, 1), (split, parts)):
        made = build_optimizer(model, config(optimizer=optimizer, learning_rate=1e-2))
        for step in range(3):
            result = training_step(model, made, batch(), seed=0, step=step, classes=3, layers=(), parts=count)
        found.append(result)
    assert found[0][:2] == pytest.approx(found[1][:2], abs=1e-5)
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_gradients_of_binarised_layers_add_up(optimizer: str) -> None:
    """Compact gradients of several passes are summed as dense ones are (normalisation evaluates: no batch in it)."""
    model = network("qat")
    model.eval()
    whole = copy.deepcopy(model)
    for net, parts in ((model, 4), (whole, 1)):
        made = build_optimizer(net, config(optimizer=optimizer, weight_decay=0.0))
        layers = [module for module in net.modules() if isinstance(module, BinaryLayer)]
        training_step(net, made, batch(), seed=0, step=0, classes=3, layers=layers, parts=parts)
    for one, other in zip(model.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-3)


def test_random_numbers_are_the_micro_batchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[PhiloxKey] = []
    original = type(network("fqt").fqt_state).key

    def key(*arguments: object) -> PhiloxKey:
        keys.append(original(*arguments))
        return keys[-1]

    monkeypatch.setattr(type(network("fqt").fqt_state), "key", key)
    model = network("fqt")
    made = build_optimizer(model, config())
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    for step in range(2):
        training_step(model, made, batch(), seed=0, step=step, classes=3, layers=layers, parts=3)
    passes = {(key.step, key.purpose >> 8) for key in keys}
    assert passes == {(step, number) for step in range(2) for number in range(3)}
    per_pass = len(keys) // 6
    assert per_pass > 0
    assert len(set(keys)) == len(keys)


def test_a_step_is_a_step_however_it_is_split() -> None:
    events = {n: train(network("fqt"), config(batch_size=16, accumulate=n)) for n in (1, 4)}
    kinds = {n: [event.type for event in found] for n, found in events.items()}
    assert kinds[1] == kinds[4]
    assert events[1][1].loss != events[4][1].loss  # type: ignore[union-attr]  # normalised over other images
