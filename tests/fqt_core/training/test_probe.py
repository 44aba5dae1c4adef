"""The probe against independent computations; and it disturbs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fqt_core as fqt
from fqt_core.config import Method, Resnet18, Vgg16
from fqt_core.layers import BinaryConv2d, BinaryLayer, BinaryLinear
from fqt_core.random import PROBE, PhiloxState, Purpose
from fqt_core.training.probe import GradientProbe

from .nets import network, sha256


def layers_of(model: nn.Module) -> dict[str, BinaryLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, BinaryLayer)}


def batch(count: int = 16, size: int = 8, channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, channels, size, size, generator=generator), torch.arange(count) % 3


def probe(model: nn.Module, step: int = 0, **shape: int) -> dict[str, dict[str, float]]:
    model.train()
    images, labels = batch(**shape)
    return GradientProbe(model, layers_of(model)).measure(images, labels, seed=1, step=step)


def mean(model: nn.Module, steps: int, layer: str) -> dict[str, float]:
    """Average figures of one layer over many probes of the same network."""
    found = [probe(model, step)[layer] for step in range(steps)]
    return {name: sum(figures[name] for figures in found) / steps for name in found[0]}


def test_it_computes_the_gradients_of_training() -> None:
    """With gradients of 8 bits everything, exact or noisy, is the network's own gradient but for the rounding."""
    figures = probe(network("psq", bits=8, weight_groups="channel"))
    assert figures.keys() == {"2", "5"}
    for layer in figures.values():
        for name in ("dx", "dw", "accumulated_dx", "accumulated_dw"):
            assert layer[f"{name}_cosine"] > 0.999
            assert 0 < layer[f"{name}_relative_variance"] < 2e-3


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_local_variance_of_dw_is_that_of_stochastic_rounding(bits: int) -> None:
    """For a 1x1 convolution of one pixel: dW = Gᵀ · Xb, so its variance is Σ Δ² f (1 - f), once per input channel."""
    torch.manual_seed(0)
    state = PhiloxState()
    method = Method("psq", bits=bits, weight_groups="channel", weight_scale="none")
    layer = BinaryLinear(6, 5, bias=False, method=method, state=state, layer_index=0)
    model = nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(5, 3))
    images, labels = torch.randn(32, 4), torch.arange(32) % 3
    x = model[0](images).detach()
    y = functional.linear(torch.sign(x), torch.sign(layer.weight)).detach().requires_grad_()
    functional.cross_entropy(model[2](y), labels).backward()
    g = y.grad.double()
    step = (g.amax(0) - g.amin(0)) / (2**bits - 1)
    fraction = ((g - g.amin(0)) / step).frac()
    expected = float((step**2 * fraction * (1 - fraction)).sum() * 6 / (g.T @ torch.sign(x).double()).square().sum())
    prober = GradientProbe(model, {"1": layer})
    found = [prober.measure(images, labels, seed=0, step=step)["1"] for step in range(60)]
    assert sum(figures["dw_relative_variance"] for figures in found) / 60 == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("options", [{"pruning": "systematic"}, {"pruning": "bernoulli"}])
def test_unbiased_methods_show_no_bias_and_topk_does(options: dict[str, Any]) -> None:
    unbiased = mean(network("fqt", **options), 100, "5")
    topk = mean(network("fqt", pruning="topk"), 6, "5")
    for name in ("dx", "dw"):
        variance = unbiased[f"{name}_relative_variance"]
        assert variance > 0.2
        assert abs(unbiased[f"{name}_squared_bias"]) < 0.5 * variance
        assert topk[f"{name}_squared_bias"] > 0.15
        assert topk[f"{name}_relative_variance"] < 0.5 * variance


def test_noise_accumulates_on_the_way_back_and_the_last_layer_has_only_its_own() -> None:
    figures = mean(network("psq", bits=2, weight_groups="channel"), 12, "2")
    last = mean(network("psq", bits=2, weight_groups="channel"), 12, "5")
    assert figures["accumulated_dw_relative_variance"] > 1.5 * figures["dw_relative_variance"]
    assert last["accumulated_dw_relative_variance"] == pytest.approx(last["dw_relative_variance"], rel=0.15)


def test_full_precision_gradients_have_no_noise() -> None:
    for figures in probe(network("qat")).values():
        assert {value for name, value in figures.items() if name.endswith("cosine")} == {1.0}
        assert {value for name, value in figures.items() if not name.endswith("cosine")} == {0.0}


def vgg() -> nn.Module:
    return fqt.models.build(Vgg16(stem="small", image_size=16, width=0.125), num_classes=3)


def resnet() -> nn.Module:
    return fqt.models.build(Resnet18(stem="small", image_size=16, width=0.125), num_classes=3)


@pytest.mark.parametrize("build", [vgg, resnet])
@pytest.mark.parametrize("options", [{"name": "fqt"}, {"name": "psq"}, {"name": "fqt", "weight_scale": "learned"}])
def test_chains_are_probed_and_left_as_they_were(build: Callable[[], nn.Module], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build()
    fqt.convert_(model, Method(**options))
    layers = layers_of(model)
    for layer in layers.values():
        layer.collect_statistics = True
    images, labels = batch(size=16, channels=3)
    functional.cross_entropy(model.train()(images), labels).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    statistics = {name: dict(layer.statistics) for name, layer in layers.items()}
    methods, digest, random = [layer.method for layer in layers.values()], sha256(model), torch.get_rng_state()

    figures = probe(model, size=16, channels=3)

    assert figures.keys() == layers.keys()
    assert all(len(layer) == 12 for layer in figures.values())
    assert sha256(model) == digest
    assert torch.equal(torch.get_rng_state(), random)
    assert {name: layer.statistics for name, layer in layers.items()} == statistics
    assert all(torch.equal(p.grad, gradients[n]) for n, p in model.named_parameters() if p.grad is not None)
    assert [layer.method for layer in layers.values()] == methods
    assert {layer.state for layer in map(_Identified, layers.values())} == {id(model.fqt_state)}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert probe(model, size=16, channels=3) == figures


class _Identified:
    """A layer's random state, by identity."""

    def __init__(self, layer: BinaryLayer) -> None:
        self.state = id(layer.state)


def test_a_layer_on_images_has_no_input_gradient() -> None:
    layer = BinaryConv2d(1, 4, 3, padding=1, method=Method("fqt"), state=PhiloxState(), layer_index=0)
    model = nn.Sequential(layer, nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    names = {
        f"{kind}_{figure}"
        for kind in ("dw", "accumulated_dw")
        for figure in ("relative_variance", "squared_bias", "cosine")
    }
    assert probe(model)["0"].keys() == names


def test_a_layer_without_gradient_has_no_figures() -> None:
    model = network("fqt")
    nn.init.zeros_(model[10].weight)  # type: ignore[arg-type]
    assert probe(model) == {"2": {}, "5": {}}


def test_draws_of_a_probe_are_none_of_training() -> None:
    training = {PhiloxState(stream=s).key(1, p).purpose for s in range(4) for p in Purpose}
    probing = {PhiloxState(stream=s, probe=True).key(1, p).purpose for s in range(4) for p in Purpose}
    assert len(training | probing) == 2 * 4 * len(Purpose)
    assert max(Purpose) < PROBE < 1 << 8
