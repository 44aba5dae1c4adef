from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fqt_core.config import Method, MethodConfig
from fqt_core.errors import ConfigurationError, ConversionError, NonFiniteGradientError
from fqt_core.layers import BinaryConv2d, BinaryLinear
from fqt_core.random import PhiloxState
from tests.fqt_core.cases import Conv
from tests.fqt_core.layers.build import conv_layer, linear_layer

CASE = Conv(5, 3, 3, (5, 5), (3, 3), (1, 1), (1, 1), (1, 1), 1, seed=8)
ALL = [
    Method("qat"),
    Method("psq"),
    Method("psq", bits=8, weight_groups="channel"),
    *(Method("fqt", bits=8, pruning=pruning) for pruning in ("none", "topk", "bernoulli", "systematic")),
]


def _backward(layer: nn.Module, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    layer(x).backward(g)
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("method", ALL, ids=repr)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_gradient_names_layer_and_step(method: MethodConfig, bad: float) -> None:
    layer = conv_layer(CASE, method, step=17)
    g = torch.randn(CASE.output) * 100
    g[4] = 1e-6  # a group that would be dropped, not noticed
    g[4, 2, 3, 1] = bad
    with pytest.raises(NonFiniteGradientError, match=r"'body\.conv' is not finite at step 17") as caught:
        _backward(layer, CASE.x(), g)
    assert (caught.value.layer, caught.value.step) == ("body.conv", 17)


def test_a_range_that_float32_cannot_hold_is_refused() -> None:
    g = torch.zeros(CASE.output)
    g[0, 0, 0, 0], g[0, 0, 0, 1] = 3e38, -3e38
    with pytest.raises(NonFiniteGradientError):
        _backward(conv_layer(CASE, Method("fqt")), CASE.x(), g)


@pytest.mark.parametrize("method", ALL, ids=repr)
def test_a_zero_gradient_gives_zeros(method: MethodConfig) -> None:
    layer = conv_layer(CASE, method)
    assert not bool(_backward(layer, CASE.x(), torch.zeros(CASE.output)).any())
    assert layer.weight.grad is not None
    assert not bool(layer.weight.grad.any())


@pytest.mark.parametrize("method", ALL, ids=repr)
@pytest.mark.parametrize("samples", [0, 1, 2])
def test_few_samples(method: MethodConfig, samples: int) -> None:
    layer = conv_layer(CASE, method)
    dx = _backward(layer, torch.randn(samples, 3, 5, 5), torch.randn(samples, 3, 5, 5))
    assert dx.shape == (samples, 3, 5, 5)
    assert bool(torch.isfinite(dx).all())
    assert layer.weight.grad is not None
    assert layer.weight.grad.shape == layer.weight.shape


@pytest.mark.parametrize("method", ALL, ids=repr)
def test_linear_layers_with_one_output_and_more_axes(method: MethodConfig) -> None:
    layer = linear_layer(7, 1, method)
    assert layer(torch.randn(7)).shape == (1,)
    dx = _backward(layer, torch.randn(2, 3, 7), torch.randn(2, 3, 1))
    assert dx.shape == (2, 3, 7)


def test_a_group_of_zeros_gets_no_gradient_and_no_noise() -> None:
    layer = conv_layer(CASE, Method("psq", bits=1, weight_groups="channel"))
    g = torch.randn(CASE.output)
    g[1] = 0
    g[:, 2] = 0
    dx = _backward(layer, CASE.x(), g)
    assert layer.weight.grad is not None
    assert not bool(dx[1].any())
    assert not bool(layer.weight.grad[2].any())


def test_a_step_can_be_drawn_again() -> None:
    results = []
    for step in (5, 5, 6):
        layer = conv_layer(CASE, Method("fqt"), step=step)
        g = torch.randn(CASE.output, generator=torch.Generator().manual_seed(1))
        dx = _backward(layer, CASE.x(), g)
        assert layer.weight.grad is not None
        results.append((dx, layer.weight.grad))
    assert all(torch.equal(a, b) for a, b in zip(results[0], results[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(results[0], results[2], strict=True))


def test_only_what_is_asked_for_is_computed() -> None:
    layer = conv_layer(CASE, Method("fqt"))
    layer.weight.requires_grad_(False)
    assert bool(_backward(layer, CASE.x(), torch.randn(CASE.output)).any())
    assert layer.weight.grad is None
    layer.weight.requires_grad_(True)
    layer(CASE.x()).sum().backward()
    assert layer.weight.grad is not None


def test_half_precision_activations() -> None:
    layer = conv_layer(CASE, Method("fqt"))
    x = CASE.x().bfloat16().requires_grad_()
    y = layer(x)
    y.backward(torch.randn(y.shape))
    assert y.dtype == torch.float32
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    with pytest.raises(ConfigurationError, match="float64"):
        layer(CASE.x().double())


def test_no_gradient_modes() -> None:
    layer = conv_layer(CASE, Method("fqt"))
    expected = layer(CASE.x())
    with torch.no_grad():
        assert torch.equal(layer(CASE.x()), expected)
    with torch.inference_mode():
        assert torch.equal(layer.eval()(CASE.x()), expected)


def test_statistics_only_on_request() -> None:
    layer = conv_layer(CASE, Method("fqt", bits=2))
    g = torch.randn(CASE.output)
    _backward(layer, CASE.x(), g)
    assert layer.statistics == {}
    layer.collect_statistics = True
    _backward(layer, CASE.x(), g)
    figures = layer.statistics
    assert figures["kept_samples"] == 2
    assert figures["kept_channels"] == 1
    assert figures["gradient_range"] == pytest.approx(float(g.max() - g.min()))
    assert figures["window_share"] == pytest.approx(float((CASE.x().abs() < 1).float().mean()))
    assert 0 < figures["kept_sample_probability_min"] <= 1
    assert 0 < figures["kept_channel_probability_min"] <= 1


def test_latents_are_clamped() -> None:
    layer = conv_layer(CASE, Method("fqt"))
    with torch.no_grad():
        layer.weight.mul_(9)
    layer.clamp_latents_()
    assert float(layer.weight.detach().abs().max()) == 1


def test_a_method_that_does_not_binarise_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="fp32"):
        BinaryLinear(2, 2, method=Method("fp32"), state=PhiloxState(), layer_index=0)


def _from_float(module: nn.Conv2d) -> BinaryConv2d:
    return BinaryConv2d.from_float(module, method=Method("qat"), state=PhiloxState(), layer_index=0, name="a.b")


def test_paddings_of_torch() -> None:
    x = torch.randn(2, 3, 7, 6)
    for options in ({"padding": "same", "dilation": 2}, {"padding": "valid"}, {"padding": (2, 1), "stride": (2, 1)}):
        module = nn.Conv2d(3, 4, (3, 5), **options)  # type: ignore[arg-type]
        assert _from_float(module)(x).shape == module(x).shape
    with pytest.raises(ConversionError, match=r"a\.b.*even kernel"):
        _from_float(nn.Conv2d(3, 4, 2, padding="same"))
    with pytest.raises(ConversionError, match=r"a\.b.*reflect"):
        _from_float(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"))


def test_parameters_are_taken_over() -> None:
    module = nn.Conv2d(3, 4, 3)
    layer = BinaryConv2d.from_float(
        module.eval(), method=Method("fqt", weight_scale="learned"), state=PhiloxState(), layer_index=0, name="x"
    )
    assert layer.weight is module.weight
    assert layer.bias is module.bias
    assert not layer.training
    assert set(layer.state_dict()) == {"weight", "bias", "alpha"}
    assert layer.alpha is not None
    torch.testing.assert_close(layer.alpha.detach(), module.weight.detach().abs().mean((1, 2, 3)))
    assert "method=fqt" in repr(layer)
