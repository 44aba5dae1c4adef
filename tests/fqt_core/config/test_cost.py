"""The cost of a step against a count over the layers of real, converted networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import fqt_core as fqt
from fqt_core.config import ARCHITECTURES, Method
from fqt_core.config.cost import PICOJOULES, PICOJOULES_PER_BYTE, StepCost, step_cost
from fqt_core.config.plan import network_plan
from fqt_core.layers import BinaryLayer, QuantizedLayer

_IMAGES, _CLASSES = 8, 5

# Of a converted layer: bits of weights and activations, then of G for dL/dX and for dL/dW and the share that is kept.
_FORMATS: list[tuple[str, dict[str, Any], float, tuple[float, float], tuple[float, float]]] = [
    ("fp32", {}, 32, (32, 1), (32, 1)),
    ("qat", {}, 1, (32, 1), (32, 1)),
    ("psq", {"bits": 2}, 1, (2, 1), (32, 1)),  # the scales of samples stand inside of the sum of dL/dW
    ("psq", {"bits": 2, "weight_groups": "channel"}, 1, (2, 1), (2, 1)),
    ("fqt", {}, 1, (4, 0.25), (4, 0.25)),
    ("fqt", {"bits": "auto", "budget": 1.5}, 1, (1.5, 1), (1.5, 1)),
    ("statquant", {"bits": 5}, 8, (5, 1), (8, 1)),
    ("statquant", {"bits": 5, "forward": 1}, 1, (5, 1), (8, 1)),
    ("unified-int8", {}, 8, (8, 1), (8, 1)),
    ("lsq", {"weight_bits": 4, "activation_bits": 3}, 4, (32, 1), (32, 1)),
]


def _sizes(network: str, method: Any) -> list[tuple[bool, int, int, int, int]]:
    """Of each layer: whether it is converted, its weights, elements of its input and output, multiply-accumulates."""
    config = ARCHITECTURES[network](name=network, width=0.25, image_size=16, channels=1)
    model = fqt.models.build(config, num_classes=_CLASSES)
    settled = fqt.Method("fqt") if method.chooses_bits else method
    if settled.name != "fp32":
        fqt.convert_(model, settled)
    found = []

    def look(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        converted = isinstance(layer, BinaryLayer | QuantizedLayer)
        weight = layer.weight
        per_output = weight.numel() // weight.shape[0]
        found.append((converted, weight.numel(), inputs[0].numel(), output.numel(), output.numel() * per_output))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | QuantizedLayer):
            module.register_forward_hook(look)
    model(torch.zeros(_IMAGES, 1, 16, 16))
    return found


@pytest.mark.parametrize("network", ["convnet", "resnet18"])
@pytest.mark.parametrize(("name", "options", "bits", "dx", "dw"), _FORMATS, ids=str)
def test_counts_are_those_of_the_network(
    network: str, name: str, options: dict[str, Any], bits: float, dx: Any, dw: Any
) -> None:
    method = Method(name, **options)
    config = ARCHITECTURES[network](name=network, width=0.25, image_size=16, channels=1)
    macs = {"binary": 0.0, "byte": 0.0, "float": 0.0}
    moved = 0.0
    for number, (converted, elements, inputs, outputs, products) in enumerate(_sizes(network, method)):
        own, (g_x, keep_x), (g_w, keep_w) = (bits, dx, dw) if converted else (32, (32, 1), (32, 1))
        weights = 2 * elements  # two micro-batches
        three = [(own, own, 1, (inputs + weights) * own + outputs * 32)]
        if number:
            three.append((g_x, own, keep_x, outputs * g_x * keep_x + weights * own + inputs * 32))
        three.append((g_w, own, keep_w, outputs * g_w * keep_w + inputs * own + weights * 32))
        for one, other, keep, bits_moved in three:
            moved += bits_moved / 8
            if max(one, other) > 8:
                macs["float"] += products * keep
            elif min(one, other) == 1:
                macs["binary"] += products * keep * max(one, other)
            else:
                macs["byte"] += products * keep
    cost = step_cost(config, _CLASSES, method, images=_IMAGES, micro_batches=2)
    assert (cost.binary_macs, cost.byte_macs, cost.float_macs) == tuple(map(round, macs.values()))
    parameters = network_plan(config, _CLASSES, method).parameters
    assert cost.bytes_moved == pytest.approx(moved + parameters * 4 * 7, abs=1)


def test_optimisers_and_energies() -> None:
    config = ARCHITECTURES["convnet"](name="convnet")
    costs = {
        name: step_cost(config, 10, Method("qat"), images=4, optimizer=name).bytes_moved
        for name in ("adam", "sgd", "muon")
    }
    plan = network_plan(config, 10, Method("qat"))
    assert costs["adam"] - costs["sgd"] == 2 * 4 * plan.parameters
    assert costs["adam"] - costs["muon"] == 2 * 4 * plan.binary_parameters
    cost = StepCost(images=1, binary_macs=8000, byte_macs=100, float_macs=10, bytes_moved=8)
    assert pytest.approx({"binary": 0.00375, "byte": 0.3, "float": 4.6}) == PICOJOULES
    assert cost.operation_joules == pytest.approx((30 + 30 + 46) * 1e-12)
    assert cost.movement_joules == pytest.approx(1.3e-9) == 8 * PICOJOULES_PER_BYTE * 1e-12
