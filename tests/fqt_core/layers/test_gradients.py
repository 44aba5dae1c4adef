"""Forward and gradients against autograd on an independent fake-quantised network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fqt_core import ops
from fqt_core.config import Method, MethodConfig
from fqt_core.layers.base import BinaryLayer
from fqt_core.quantizers.agp import kept_count
from fqt_core.quantizers.stochastic import clipped_range
from tests.fqt_core import independent
from tests.fqt_core.cases import Conv, convolutions, gradient
from tests.fqt_core.layers.build import conv_layer, linear_layer

INPUT_SELECTION, INPUT_ROUNDING, WEIGHT_SELECTION, WEIGHT_ROUNDING = 1, 0, 3, 2  # documented purposes


def _run(layer: BinaryLayer, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Output and dL/dX; the parameters' gradients stay in the layer."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    return y.detach(), x.grad


def _expected(layer: BinaryLayer, x: Tensor, g: Tensor, geometry: dict[str, Any]) -> tuple[Tensor, ...]:
    """The same in float64 by autograd: y, dX, dW, dalpha, dbias."""
    alpha = layer.scale()
    leaves = [x, layer.weight, torch.ones(layer.weight.shape[0]) if alpha is None else alpha, torch.zeros(g.shape[1])]
    if layer.bias is not None:
        leaves[3] = layer.bias
    xd, wd, ad, bd = (leaf.detach().double().requires_grad_() for leaf in leaves)
    y = independent.binary_layer(xd, wd, ad, bd, **geometry)
    return (y.detach(), *torch.autograd.grad(y, (xd, wd, ad, bd), g.double()))


def _close(got: Tensor | None, expected: Tensor) -> None:
    assert got is not None
    scale = float(expected.abs().max())
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-5 * scale)


@given(convolutions(), st.sampled_from(["mean", "learned", "none"]))
@settings(max_examples=60)
def test_convolution_with_full_precision_gradients(case: Conv, weight_scale: str) -> None:
    layer = conv_layer(case, Method("qat", weight_scale=weight_scale))
    g = torch.randn(case.output, generator=case.generator())
    y, dx = _run(layer, case.x(), g)
    expected = _expected(layer, case.x(), g, case.geometry)
    for got, wanted in zip((y, dx, layer.weight.grad), expected[:3], strict=True):
        _close(got, wanted)
    if layer.alpha is not None:
        _close(layer.alpha.grad, expected[3])
    assert layer.bias is not None
    _close(layer.bias.grad, expected[4])


@pytest.mark.parametrize("weight_scale", ["mean", "learned", "none"])
@pytest.mark.parametrize(("n", "c", "d"), [(1, 1, 1), (5, 63, 3), (4, 65, 7)])
def test_linear_with_full_precision_gradients(n: int, c: int, d: int, weight_scale: str) -> None:
    layer = linear_layer(c, d, Method("qat", weight_scale=weight_scale))
    x, g = torch.randn(n, c), torch.randn(n, d)
    y, dx = _run(layer, x, g)
    expected = _expected(layer, x, g, {})
    for got, wanted in zip((y, dx, layer.weight.grad), expected[:3], strict=True):
        _close(got, wanted)


METHODS = [
    Method("psq", bits=1, weight_groups="channel"),
    Method("psq", bits=8, weight_groups="channel", weight_scale="none"),
    Method("psq", bits=1, weight_groups="channel", clip=1.0),
    Method("fqt", pruning="topk"),
    Method("fqt", bits=4, pruning="systematic"),
    Method("fqt", bits=2, pruning="bernoulli", clip=2.0, weight_scale="learned"),
    Method("fqt", bits=8, keep=0.5, pruning="systematic"),
]


def _quantized(g: Tensor, dim: int, quantizer: Any, seed: int, purposes: tuple[int, int]) -> tuple[Tensor, ...]:
    """Kept groups, and their codes, scale and offset; codes drawn independently of the library."""
    lo, hi = g.amin([i for i in range(g.dim()) if i != dim]), g.amax([i for i in range(g.dim()) if i != dim])
    kept = kept_count(g.shape[dim], quantizer.keep)
    index, factor = ops.OPERATIONS["select_groups"].reference(lo, hi, kept, quantizer.pruning, seed, 3, 2, purposes[0])
    if quantizer.clip is not None:
        lo, hi = clipped_range(g, dim, lo, hi, quantizer.clip)
    lo, hi = lo[index], hi[index]
    codes = independent.codes(g, dim, index, lo, hi, quantizer.bits, (seed, 3, 2, purposes[1]))
    delta = (hi - lo) / torch.tensor(2.0**quantizer.bits - 1)
    return index, codes, delta * factor, lo * factor


@pytest.mark.parametrize("method", METHODS, ids=repr)
@given(case=convolutions(max_groups=2), kind=st.integers(0, 6))
@settings(max_examples=12)
def test_quantised_gradients_are_exact_in_integers(method: MethodConfig, case: Conv, kind: int) -> None:
    layer = conv_layer(case, method, bias=False)
    g = gradient(case.output, case.seed - case.seed % 7 + kind)
    _, dx = _run(layer, case.x(), g)
    alpha = layer.scale()
    scaled = g if alpha is None else g * alpha.detach().view(1, -1, 1, 1)
    if not bool((g != 0).any()):
        assert not bool(dx.any())
        return
    xb, wb = (torch.where(t < 0, -1.0, 1.0).double() for t in (case.x(), case.weight()))

    def vjp(gradient_codes: Tensor, wrt: str) -> Tensor:
        """Integer products by autograd, in float64."""
        xd, wd = xb[: len(gradient_codes)].clone().requires_grad_(), wb.clone().requires_grad_()
        y = torch.nn.functional.conv2d(xd, wd, **case.geometry)
        return torch.autograd.grad(y, xd if wrt == "x" else wd, gradient_codes.double())[0]

    _, outputs, height, width = case.output
    index, codes, scale, offset = _quantized(
        scaled, 0, method.input_gradient, case.seed, (INPUT_SELECTION, INPUT_ROUNDING)
    )
    expected = torch.zeros_like(dx)
    if len(index):
        nchw = codes.view(len(index), height, width, outputs).permute(0, 3, 1, 2)
        product, constant = vjp(nchw, "x"), vjp(torch.ones(1, outputs, height, width), "x")
        shape = (-1, 1, 1, 1)
        expected[index] = product.float() * scale.view(shape) + offset.view(shape) * constant.float()
    inside = (case.x() > -1) & (case.x() < 1)
    assert torch.equal(dx, torch.where(inside, expected, 0.0))

    index, codes, scale, offset = _quantized(
        g, 1, method.weight_gradient, case.seed, (WEIGHT_SELECTION, WEIGHT_ROUNDING)
    )
    wanted = torch.zeros_like(layer.weight)
    if len(index):
        full = torch.zeros(case.output)
        full[:, index] = codes.view(len(index), case.samples, height, width).transpose(0, 1).float()
        shape = (-1, 1, 1, 1)
        product, constant = vjp(full, "w")[index], vjp(torch.ones(case.output), "w")[index]
        wanted[index] = product.float() * scale.view(shape) + offset.view(shape) * constant.float()
    if alpha is not None:
        if layer.alpha is not None:
            assert layer.alpha.grad is not None
            torch.testing.assert_close(
                layer.alpha.grad,
                (wanted * wb.float()).flatten(1).sum(1),
                rtol=1e-4,
                atol=1e-4 * float(wanted.abs().max()),
            )
        wanted = wanted * alpha.detach().view(-1, 1, 1, 1)
    assert layer.weight.grad is not None
    assert torch.equal(layer.weight.grad, wanted)


@pytest.mark.parametrize("groups", [1, 2])
def test_simulated_weight_gradient_is_that_of_the_dequantised_gradient(groups: int) -> None:
    case = Conv(5, 6, 4, (6, 5), (3, 3), (1, 2), (1, 1), (1, 1), groups, seed=21)
    layer = conv_layer(case, Method("psq", bits=1, weight_groups="sample", weight_scale="none"))
    g = torch.randn(case.output, generator=case.generator())
    _run(layer, case.x(), g)
    _, codes, scale, offset = _quantized(
        g, 0, layer.method.weight_gradient, case.seed, (WEIGHT_SELECTION, WEIGHT_ROUNDING)
    )
    _, outputs, height, width = case.output
    shape = (-1, 1, 1, 1)
    estimate = codes.view(-1, height, width, outputs).permute(0, 3, 1, 2) * scale.view(shape) + offset.view(shape)
    _close(layer.weight.grad, _expected(layer, case.x(), estimate, case.geometry)[2])


@pytest.mark.parametrize("pruning", ["bernoulli", "systematic"])
def test_both_gradients_are_unbiased(pruning: str) -> None:
    case = Conv(4, 3, 5, (4, 4), (3, 3), (1, 1), (1, 1), (1, 1), 1, seed=14)
    layer = conv_layer(case, Method("fqt", bits=2, pruning=pruning))
    g = torch.randn(case.output, generator=case.generator())
    _, dx, dw, *_ = _expected(layer, case.x(), g, case.geometry)
    draws = 500
    sampled: list[Tensor] = []
    for step in range(draws):
        layer.state.step = step
        layer.weight.grad = None
        _, input_gradient = _run(layer, case.x(), g)
        assert layer.weight.grad is not None
        sampled.append(torch.cat([input_gradient.flatten(), layer.weight.grad.flatten()]))
    samples, exact = torch.stack(sampled).double(), torch.cat([dx.flatten(), dw.flatten()])
    moving = samples.std(0) > 0
    z = (samples.mean(0) - exact)[moving].abs() / (samples.std(0)[moving] / draws**0.5)
    # Normal tail with Bonferroni over at most 327 elements: a false alarm once in a million.
    limit = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - 1e-6 / 654, dtype=torch.float64))
    assert float(z.max()) <= float(limit)
    assert bool((exact[~moving].abs() < 1e-6).all())
