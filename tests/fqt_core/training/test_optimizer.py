"""Parameter groups and the kinds of optimisers."""

from __future__ import annotations

import pytest
import torch

from fqt_core.errors import CheckpointError
from fqt_core.training.optimizer import build_optimizer, head_name, load_optimizer_tensors

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


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_latents_have_a_rate_of_their_own(optimizer: str) -> None:
    model = network("fqt", weight_scale="learned")
    wanted = config(optimizer=optimizer, binary_learning_rate=0.07, learning_rate=1e-5, head_learning_rate=1e-3)
    rates = {id(p): group["base_lr"] for group in build_optimizer(model, wanted).param_groups for p in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert {name for name, rate in found.items() if rate == 0.07} == {"2.weight", "5.weight"}
    assert {name for name, rate in found.items() if rate == 1e-3} == {"10.weight", "10.bias"}
    assert {rate for name, rate in found.items() if name not in {"2.weight", "5.weight"}} == {1e-5, 1e-3}


def test_defaults_that_depend_on_the_optimizer() -> None:
    found = {
        name: (wanted.latent_learning_rate, wanted.settled_momentum)
        for name in ("adam", "sgd", "muon")
        for wanted in [config(optimizer=name, learning_rate=0.2)]
    }
    assert found == {"adam": (0.2, 0.9), "sgd": (0.2, 0.9), "muon": (8e-3, 0.95)}


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon"])
def test_foreign_state_is_refused(optimizer: str) -> None:
    model = network("fqt")
    made = build_optimizer(model, config(optimizer=optimizer))
    foreign = "momentum_buffer" if optimizer == "adam" else "exp_avg"
    with pytest.raises(CheckpointError, match=r"2\.weight/.* does not belong"):
        load_optimizer_tensors(model, made, {f"2.weight/{foreign}": torch.zeros(8, 8, 3, 3)})
