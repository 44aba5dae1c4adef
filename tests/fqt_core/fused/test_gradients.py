"""A whole network's step through chains against autograd on the same network, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fqt_core as fqt
from fqt_core import ops
from fqt_core.fused import backward
from fqt_core.fused.backward import BlockGradient
from fqt_core.fused.codes import CodesInSteps, GradientCodes, gradient_codes
from fqt_core.fused.forward import Record
from fqt_core.fused.rows import RowGradient
from fqt_core.layers import BinaryConv2d
from fqt_core.ops import convolution
from fqt_core.ops.hwnc import gradient as reference
from fqt_core.quantizers.stochastic import clipped_range
from tests.fqt_core.fused.nets import images, layer_by_layer, network, step


def _floats(codes: CodesInSteps) -> Tensor:
    """dL/dY as floats (N, D, H', W')."""
    record = codes.record
    v = reference._unpool(reference.block_gradient(*codes.source), record.choice, record.size)
    return v.permute(2, 3, 0, 1).contiguous()


@dataclass(frozen=True)
class _Unquantised(GradientCodes):
    """With the gradient as it was."""

    floats: Tensor


def _unquantised(record: Record, layer: BinaryConv2d, g: RowGradient, alpha: Tensor) -> GradientCodes:
    codes = gradient_codes(record, layer, g, alpha)
    floats = _floats(CodesInSteps(record, layer, g, record.integers(), alpha))
    return _Unquantised(**(vars(codes) | {"floats": floats}))


def _float_input_gradient(block: BlockGradient) -> RowGradient:
    record, product = block.record, block.record.block.product
    samples = record.signs.shape[2]
    g = block.alpha.view(-1, 1, 1) * block.codes.floats  # type: ignore[attr-defined]
    x = convolution.input_gradient(
        (samples, product.channels, *record.signs.shape[:2]),
        ops.unpack_sign(record.weight_words, product.channels),
        g,
        product.stride,
        product.padding,
        product.dilation,
        1,
    )
    x = ops.apply_window(x, record.window.permute(2, 0, 1, 3).contiguous())
    return RowGradient(x.permute(2, 3, 0, 1).contiguous(), torch.arange(samples))


def _float_correlation(block: BlockGradient) -> tuple[Tensor, Tensor]:
    record, product = block.record, block.record.block.product
    w = convolution.weight_gradient(
        ops.unpack_sign(record.signs.permute(2, 0, 1, 3).contiguous(), product.channels),
        (product.outputs, product.channels, *product.kernel_size),
        block.codes.floats,  # type: ignore[attr-defined]
        product.stride,
        product.padding,
        product.dilation,
        1,
    )
    return w.permute(0, 2, 3, 1).contiguous(), torch.arange(product.outputs)


@pytest.fixture
def without_quantisation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chains whose two products take the gradient as it is."""
    monkeypatch.setattr(backward, "gradient_codes", _unquantised)
    monkeypatch.setattr(backward.BlockGradient, "input_gradient", _float_input_gradient)
    monkeypatch.setattr(backward.BlockGradient, "_correlation", _float_correlation)


def _has_no_gradient(model: nn.Module, name: str) -> bool:
    """Biases and scales in front of a normalisation: what is computed is rounding noise around (almost) zero."""
    owner, _, parameter = name.rpartition(".")
    module = model.get_submodule(owner)
    return parameter == "alpha" or (parameter == "bias" and isinstance(module, nn.Conv2d))


@pytest.mark.usefixtures("without_quantisation")
@pytest.mark.parametrize("scale", ["mean", "learned"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vgg16", {"stem": "small", "size": 18}),
        ("resnet18", {"stem": "small", "size": 18}),
        ("convnet", {"shortcuts": False, "size": 18}),
        ("convnet", {"shortcuts": True, "size": 19}),
        ("convnet", {"width": 1.0, "widths": [16, 72, 8, 136, 24, 64], "size": 18}),
        ("resnet18", {"stem": "imagenet", "size": 70}),
    ],
)
def test_gradients_are_those_of_autograd(name: str, options: dict[str, Any], scale: str) -> None:
    # A value within rounding error of the border of a sign or a window may fall on either side; here none does.
    size, seed = options["size"], 2
    model = network(name, fqt.Method("fqt", weight_scale=scale), **options)
    other = network(name, fqt.Method("qat", weight_scale=scale), **options)
    loss, gradients = step(model, images(size=size, seed=seed))
    expected_loss, expected = step(other, images(size=size, seed=seed))
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert gradients.keys() == expected.keys()
    for parameter, gradient in gradients.items():
        if _has_no_gradient(model, parameter):
            continue
        error = (gradient - expected[parameter]).norm() / expected[parameter].norm()
        assert error < 1e-4, parameter
    for one, two in zip(model.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)  # running statistics
    model.eval(), other.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            model(images(size=size, seed=seed)), other(images(size=size, seed=seed)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.usefixtures("without_quantisation")
def test_the_gradient_of_learned_scales() -> None:
    """Behind a normalisation of the running statistics a scale has a gradient to speak of."""
    for name in ("vgg16", "resnet18"):
        model = network(name, fqt.Method("fqt", weight_scale="learned")).eval()
        other = network(name, fqt.Method("qat", weight_scale="learned")).eval()
        _, gradients = step(model, images())
        _, expected = step(other, images())
        for parameter, gradient in gradients.items():
            error = (gradient - expected[parameter]).norm() / expected[parameter].norm()
            assert error < 1e-4, parameter


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
@pytest.mark.parametrize("pruning", ["none", "systematic", "bernoulli"])
def test_quantised_gradients_are_right_on_average(name: str, pruning: str) -> None:
    """Fused and layer by layer draw different numbers for the weights' gradient, but estimate the same gradient.

    Over s seeds the mean of an unbiased estimate is about 1/sqrt(s) of its noise away from the truth; the two means
    must be as near to each other as two halves of one of them are. The last binarised layer sees the same gradient in
    both.
    """
    method = fqt.Method("fqt", bits=4, pruning=pruning)
    means = []
    for fused in (True, False):
        total: list[Tensor] = []
        for seed in range(24):
            model = network(name, method, size=16)
            model.fqt_state.seed = seed  # type: ignore[union-attr]
            layer = [m for m in model.modules() if isinstance(m, BinaryConv2d)][-1]
            if fused:
                step(model, images(8, 16))
            else:
                with layer_by_layer():
                    step(model, images(8, 16))
            assert layer.weight.grad is not None
            total.append(layer.weight.grad.clone())
        means.append((torch.stack(total[::2]).mean(0), torch.stack(total[1::2]).mean(0)))
    (a, b), (c, d) = means
    noise = ((a - b).norm() ** 2 + (c - d).norm() ** 2) ** 0.5
    assert ((a + b) - (c + d)).norm() < 1.5 * noise


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_clipped_ranges_are_those_of_the_gradient_in_full(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every block, pooled or not: what a scan of the stored gradient finds."""
    seen: list[int] = []
    clipped = CodesInSteps.clipped

    def compared(self: CodesInSteps, of_samples: bool, clip: float) -> tuple[Tensor, Tensor]:
        found = clipped(self, of_samples, clip)
        g = _floats(self) * (self.alpha.view(-1, 1, 1) if of_samples else 1)
        dim, ranges = (0, self.sample_range) if of_samples else (1, self.channel_range)
        expected = clipped_range(g, dim, *ranges, clip)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        seen.append(dim)
        return found

    monkeypatch.setattr(CodesInSteps, "clipped", compared)
    model = network(name, fqt.Method("fqt", bits=2, clip=1.5))
    step(model, images())
    assert sum(dim == 0 for dim in seen) >= sum(dim == 1 for dim in seen) - 1 > 10
