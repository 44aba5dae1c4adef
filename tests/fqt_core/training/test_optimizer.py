"""Parameter groups, schedule, and agreement with torch's optimisers."""

from __future__ import annotations

import pytest
import torch

from fqt_core.training.optimizer import build_optimizer, head_name, schedule_factor

from .nets import config, network


def test_groups_follow_the_paper() -> None:
    model = network("fqt", weight_scale="learned")
    assert head_name(model) == "10"
    optimizer = build_optimizer(model, config(learning_rate=1e-5, head_learning_rate=1e-3, weight_decay=1e-5))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates, decays = {}, {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr"]
            decays[names[id(parameter)]] = group["weight_decay"]
    assert rates.keys() == set(names.values())
    assert {name for name, rate in rates.items() if rate == 1e-3} == {"10.weight", "10.bias"}
    assert {name for name, decay in decays.items() if decay > 0} == {"0.weight", "2.weight", "5.weight", "10.weight"}
    assert "2.alpha" in names.values()


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model[0].weight.requires_grad_(False)  # type: ignore[index]
    parameters = {id(p) for group in build_optimizer(model, config()).param_groups for p in group["params"]}
    assert id(model[0].weight) not in parameters  # type: ignore[index]


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)])
def test_kind_of_optimizer(name: str, kind: type) -> None:
    optimizer = build_optimizer(network(), config(optimizer=name, momentum=0.7))
    assert isinstance(optimizer, kind)
    if name == "sgd":
        assert {group["momentum"] for group in optimizer.param_groups} == {0.7}


def test_schedule() -> None:
    factors = [schedule_factor(config(), step, 10) for step in range(11)]
    assert factors[0] == 1
    assert factors[5] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(0)
    assert factors == sorted(factors, reverse=True)
    assert schedule_factor(config(schedule="constant"), 9, 10) == 1
