"""The gradients of layers that quantise by pixel rows against float64 autograd on what their codes stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fqt_core.config import Method, MethodConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.layers import BinaryLayer
from fqt_core.quantizers import pixel
from fqt_core.random import Purpose
from tests.fqt_core import independent
from tests.fqt_core.cases import Conv, convolutions, gradient
from tests.fqt_core.layers.build import conv_layer, linear_layer
from tests.fqt_core.quantizers.test_pixel import _channels_estimate, _rows_estimate

METHODS = [
    Method("fqt", groups="pixel", rounding="dither", bits=2, clip=2.5),
    Method("fqt", groups="pixel", rounding="dither", bits=8, keep=0.3, weight_scale="none"),
    Method("fqt", groups="pixel", rounding="dither", bits=1, pruning="bernoulli", keep=0.5, weight_scale="learned"),
    Method("fqt", groups="pixel", bits=2, clip=2.5),
    Method("fqt", groups="pixel", bits=4, pruning="topk"),
    Method("fqt", groups="pixel", bits=2, pruning="none", weight_scale="none"),
]


def _estimates(layer: BinaryLayer, g: Tensor) -> tuple[Tensor, Tensor]:
    """The quantised G·α and G in full, float64 and of the shape of G; pruned rows are 0."""
    alpha, pixels = layer.scale(), g[0, 0].numel()

    def key(purpose: Purpose) -> Any:
        return layer.state.key(layer.layer_index, purpose)

    def full(rows: Tensor, index: Tensor) -> Tensor:
        dense = torch.zeros(len(g) * pixels, g.shape[1], dtype=torch.float64)
        dense[index] = rows
        return dense.view(len(g), *g.shape[2:], -1).movedim(-1, 1)

    quantizer = layer.method.input_gradient
    assert quantizer is not None
    scaled = g if alpha is None else g * alpha.detach().view(1, -1, *[1] * (g.dim() - 2))
    chosen = pixel.select(pixel.row_norms(scaled), quantizer, key(Purpose.INPUT_SELECTION))
    keys = key(Purpose.INPUT_ROUNDING), key(Purpose.INPUT_DITHER_SIGN)
    rows = pixel.quantize_for_input(scaled, chosen, quantizer, *keys)
    for_input = full(_rows_estimate(rows, quantizer.bits, chosen.index // pixels), chosen.index)
    chosen = pixel.select(pixel.row_norms(g), quantizer, key(Purpose.WEIGHT_SELECTION))
    keys = key(Purpose.WEIGHT_ROUNDING), key(Purpose.WEIGHT_DITHER_PHASE)
    channels = pixel.quantize_for_weight(g, chosen, quantizer, *keys)
    return for_input, full(_channels_estimate(channels).T, chosen.index)


def _check(layer: BinaryLayer, x: Tensor, g: Tensor, geometry: dict[str, Any]) -> None:
    leaf = x.clone().requires_grad_()
    layer(leaf).backward(g)
    assert leaf.grad is not None
    if not bool(g.any()):
        assert not bool(leaf.grad.any())
        return
    for_input, for_weight = _estimates(layer, g)
    xd, wd = x.double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    y = independent.binary_layer(xd, wd, None, None, **geometry)
    (dx,) = torch.autograd.grad(y, xd, for_input, retain_graph=True)
    (dw,) = torch.autograd.grad(y, wd, for_weight)
    alpha = layer.scale()
    if alpha is not None:
        dw = dw * alpha.detach().double().view(-1, *[1] * (dw.dim() - 1))
    assert layer.weight.grad is not None
    for got, expected in ((leaf.grad, dx), (layer.weight.grad, dw)):
        terms = 8 * (for_input.abs().amax() + for_weight.abs().amax()) * max(g.shape[1], 1)
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=3e-7 * float(terms) + 1e-43)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@given(case=convolutions(max_groups=2), kind=st.integers(0, 6))
@settings(max_examples=12)
def test_convolution_gradients_are_those_of_the_codes(method: MethodConfig, case: Conv, kind: int) -> None:
    g = gradient(case.output, case.seed - case.seed % 7 + kind)
    _check(conv_layer(case, method, bias=False), case.x(), g, case.geometry)


@pytest.mark.parametrize("method", METHODS[:4], ids=repr)
def test_linear_gradients_are_those_of_the_codes(method: MethodConfig) -> None:
    for n, c, d in ((1, 1, 1), (5, 63, 3), (40, 65, 33)):
        g = torch.randn(n, d, generator=torch.Generator().manual_seed(n))
        _check(linear_layer(c, d, method), torch.randn(n, c, generator=torch.Generator().manual_seed(c)), g, {})


def test_a_gradient_that_is_not_finite_is_named() -> None:
    layer = linear_layer(5, 3, METHODS[0])
    for bad in (float("nan"), float("inf")):
        g = torch.zeros(4, 3)
        g[2, 1] = bad
        with pytest.raises(NonFiniteGradientError, match=r"layer.*step 3|body.*step 3"):
            layer(torch.randn(4, 5, requires_grad=True)).backward(g)


def test_kept_rows_are_told() -> None:
    layer = linear_layer(8, 6, METHODS[0])
    layer.collect_statistics = True
    layer(torch.randn(9, 8, requires_grad=True)).backward(torch.randn(9, 6))
    assert layer.statistics["kept_input_rows"] == layer.statistics["kept_weight_rows"] == 5
    assert 0 < layer.statistics["kept_input_row_probability_min"] <= 1
