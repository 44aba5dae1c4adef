"""Constants of running statistics are kept until something that they are made of changes."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from fqt_core.config import Method
from fqt_core.fused.constants import kept
from tests.fqt_core.fused.nets import images, network


def _rises(model: nn.Module) -> nn.BatchNorm2d:
    norm = model.get_submodule("layer2.0.bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    return norm


def _trains(model: nn.Module) -> None:
    model.train()
    with torch.no_grad():
        model(images(seed=9))
    model.eval()


def _scales_weight(model: nn.Module) -> None:
    with torch.no_grad():
        _rises(model).weight.mul_(-3)


def _sets_variance(model: nn.Module) -> None:
    variance = _rises(model).running_var
    assert variance is not None
    variance.fill_(7)


def _replaces_mean(model: nn.Module) -> None:
    norm = _rises(model)
    assert norm.running_mean is not None
    norm.running_mean = norm.running_mean + 5


def _sets_eps(model: nn.Module) -> None:
    _rises(model).eps = 2.0


def _changes_the_shortcut(model: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "downsample" in name:
                parameter.add_(0.5)


@pytest.mark.parametrize(
    "change", [_trains, _scales_weight, _sets_variance, _replaces_mean, _sets_eps, _changes_the_shortcut]
)
def test_a_change_is_seen_in_the_next_batch(change: Callable[[nn.Module], None]) -> None:
    model = network("resnet18", Method("fqt")).eval()
    with torch.no_grad():
        before = model(images())
        assert torch.equal(model(images()), before)
        change(model)
        after = model(images())
        fresh = copy.deepcopy(model)  # keeps nothing
        assert torch.equal(after, fresh(images()))
    assert not torch.equal(after, before)


def test_they_are_made_once() -> None:
    owner, source = nn.Identity(), torch.ones(3)
    made: list[int] = []

    def make() -> int:
        made.append(len(made))
        return made[-1]

    assert [kept(owner, (source, None), 1, make) for _ in range(3)] == [0, 0, 0]
    source.add_(1)
    assert [kept(owner, (source, None), 1, make) for _ in range(2)] == [1, 1]
    assert kept(owner, (source, None), 2, make) == 2
    assert kept(owner, (None, source), 2, make) == 3
    with torch.inference_mode():
        unversioned = torch.ones(3)
    assert [kept(owner, (unversioned,), 2, make) for _ in range(2)] == [4, 5]
    assert copy.deepcopy(owner).state_dict() == {}
