"""Codes of a block's gradient: in one operation, and step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import fqt_core as fqt
from fqt_core.config import MethodConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused import backward
from fqt_core.fused.codes import CodesInSteps, GradientCodes, GroupCodes, gradient_codes
from fqt_core.fused.forward import Record
from fqt_core.fused.rows import RowGradient
from fqt_core.layers import BinaryConv2d
from tests.fqt_core.fused.nets import images, network, step

METHODS = {
    "systematic": fqt.Method("fqt"),
    "bernoulli": fqt.Method("fqt", pruning="bernoulli", bits=8, keep=0.5),
    "topk": fqt.Method("fqt", pruning="topk"),
    "dense": fqt.Method("psq", bits=8, weight_groups="channel"),
}


def _tensors(group: GroupCodes | None) -> list[Tensor]:
    if group is None:
        return []
    return [group.codes, group.selection.index, group.selection.factor, group.scale, group.offset]


def _everything(codes: GradientCodes) -> list[Tensor]:
    parameters = [codes.weight, codes.shift, codes.bias, codes.span()]
    return [*parameters, *_tensors(codes.samples), *_tensors(codes.channels)]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_one_operation_gives_what_the_steps_give(
    name: str, method: MethodConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def both(record: Record, layer: BinaryConv2d, g: RowGradient, alpha: Tensor) -> GradientCodes:
        found = gradient_codes(record, layer, g, alpha)
        samples, channels = layer.method.input_gradient, layer.method.weight_gradient
        assert samples is not None
        assert channels is not None
        steps = CodesInSteps(record, layer, g, record.integers(), alpha).codes(samples, channels)
        ours, theirs = _everything(found), _everything(steps)
        assert len(ours) == len(theirs)
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        seen.append(len(ours))
        return found

    monkeypatch.setattr(backward, "gradient_codes", both)
    model = network(name, method)
    step(model, images())
    assert seen == [14] * sum(isinstance(module, BinaryConv2d) for module in model.modules())


@pytest.mark.parametrize(
    ("number", "finite"), [(0.0, True), (float("inf"), False), (float("nan"), False), (1e38, False)]
)
@pytest.mark.parametrize("method", [fqt.Method("fqt"), fqt.Method("fqt", bits=2, clip=1.5)], ids=["one", "steps"])
def test_a_gradient_of_zeros_has_no_codes_and_one_that_is_not_finite_is_refused(
    method: MethodConfig, number: float, finite: bool
) -> None:
    model = network("resnet18", method)
    logits = model(images())
    gradient = torch.full_like(logits, number)
    if finite:
        logits.backward(gradient)
        layers = [module for module in model.modules() if isinstance(module, BinaryConv2d)]
        assert all(layer.weight.grad is not None and not layer.weight.grad.any() for layer in layers)
    else:
        with pytest.raises(NonFiniteGradientError):
            logits.backward(gradient)
