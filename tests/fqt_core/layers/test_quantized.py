"""Layers that multiply bytes against straightforward float64 implementations, written down here independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core.config import AdaptiveInt8, LgLsq, Lsq, MethodConfig, StatQuant, UnifiedInt8
from fqt_core.errors import NonFiniteGradientError
from fqt_core.layers import IntegerLayer, QuantizedLayer, SteppedLayer
from fqt_core.quantizers.byte_gradients import AdaptiveGradient, UnifiedGradient, best_share
from fqt_core.random import PhiloxState

GEOMETRY = {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 2)}
DRAWS = 150
INT8 = [UnifiedInt8(), AdaptiveInt8(), *(StatQuant(quantizer=kind, bits=4) for kind in ("ptq", "psq", "bhq"))]  # type: ignore[arg-type]


def modules() -> list[nn.Conv2d | nn.Linear]:
    torch.manual_seed(3)
    return [nn.Conv2d(5, 6, 3, **GEOMETRY), nn.Linear(7, 4), nn.Conv2d(4, 3, 1, bias=False)]  # type: ignore[arg-type]


def inputs(module: nn.Module) -> Tensor:
    shape = (6, 5, 7, 8) if isinstance(module, nn.Conv2d) and module.in_channels == 5 else (6, 7)
    shape = (6, 4, 3, 3) if isinstance(module, nn.Conv2d) and module.in_channels == 4 else shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def swapped(module: nn.Conv2d | nn.Linear, method: MethodConfig, state: PhiloxState | None = None) -> QuantizedLayer:
    kind = SteppedLayer if isinstance(method, Lsq | LgLsq) else IntegerLayer
    return kind(module, method=method, state=state or PhiloxState(), layer_index=0, name="it")


def plain(module: nn.Conv2d | nn.Linear, x: Tensor, weight: Tensor) -> Tensor:
    """The layer in float64."""
    bias = None if module.bias is None else module.bias.detach().double()
    if isinstance(module, nn.Linear):
        return functional.linear(x, weight, bias)
    return functional.conv2d(x, weight, bias, module.stride, module.padding, module.dilation)  # type: ignore[arg-type]


def rounded(x: Tensor) -> Tensor:
    """x̂ of symmetric INT8, float64."""
    step = float(x.detach().abs().max()) / 127
    return torch.from_numpy(np.clip(np.rint(x.detach().double().numpy() / step), -127, 127) * step)


def truth(module: nn.Conv2d | nn.Linear, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output and both gradients of the layer with rounded operands and an exact gradient."""
    xd, wd = rounded(x).requires_grad_(), rounded(module.weight).requires_grad_()
    y = plain(module, xd, wd)
    dx, dw = torch.autograd.grad(y, (xd, wd), g.double())
    return y.detach(), dx, dw


def largest_z(draws: Tensor, mean: Tensor) -> float:
    """See tests/fqt_core/test_unbiased.py."""
    deviation, error, scale = draws.std(0), (draws.mean(0) - mean).abs(), mean.abs().max()
    moving = deviation > 1e-5 * scale
    assert bool((error[~moving] <= 1e-4 * scale).all())
    return float((error[moving] / (deviation[moving] / len(draws) ** 0.5)).max())


@pytest.mark.parametrize("method", INT8, ids=repr)
def test_int8_layers(method: MethodConfig) -> None:
    """The forward pass is that of rounded operands; both gradients are that pass's on average: they are unbiased."""
    for module in modules():
        state, x = PhiloxState(), inputs(module).requires_grad_()
        layer = swapped(module, method, state)
        y = layer(x)
        # Samples of unequal sizes; a uniform distribution is Gaussian to AdaptiveInt8, which then clips nothing.
        g = (torch.rand_like(y) - 0.5) * torch.logspace(-2, 0, len(y)).view(-1, *[1] * (y.dim() - 1))
        expected, dx, dw = truth(module, x, g)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
        found = []
        for step in range(DRAWS):
            state.step = step
            found.append(torch.cat([part.flatten() for part in torch.autograd.grad(layer(x), (x, layer.weight), g)]))
        draws, both = torch.stack(found).double(), torch.cat([dx.flatten(), dw.flatten()])
        if isinstance(method, UnifiedInt8):  # clipped where that turns the gradient least: a little bias
            assert functional.cosine_similarity(draws.mean(0), both, dim=0) > 0.999
        else:
            assert largest_z(draws, both) < 6


@pytest.mark.parametrize("method", [UnifiedInt8(), AdaptiveInt8(), StatQuant(), Lsq(), LgLsq()], ids=repr)
def test_gradients_of_zeros_and_what_is_not_finite(method: MethodConfig) -> None:
    for module in modules()[:2]:
        layer, x = swapped(module, method), inputs(module).requires_grad_()
        y = layer(x)
        for part in torch.autograd.grad(y, (x, layer.weight), torch.zeros_like(y)):
            assert not bool(part.any())
        if isinstance(layer, IntegerLayer):
            with pytest.raises(NonFiniteGradientError, match="it"):
                layer(x).backward(torch.full_like(y, float("nan")))


def test_predictions_do_not_depend_on_the_images_beside_them() -> None:
    for method in (UnifiedInt8(), Lsq(activation_bits=8)):
        module = modules()[0]
        layer, x = swapped(module, method), inputs(module)
        layer(x)
        layer.eval()
        assert torch.equal(layer(x)[:1], layer(x[:1]))
        torch.testing.assert_close(layer.simulated()(x), layer(x), rtol=1e-4, atol=1e-5)


def test_the_clip_is_the_one_that_turns_the_gradient_least() -> None:
    g = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    g[7] = 100
    deviation = {}
    for number in range(1, 21):
        step = float(g.abs().max()) * number / 20 / 127
        found = (g.double() / step).round().clamp(-127, 127) * step
        deviation[number / 20] = 1 - float(functional.cosine_similarity(found, g.double(), dim=0))
    share, least = map(float, best_share(g))
    assert share == min(deviation, key=lambda key: deviation[key])
    assert share < 1
    assert least == pytest.approx(min(deviation.values()), abs=1e-8)
    assert tuple(map(float, best_share(g[torch.randperm(len(g))]))) == (share, least)  # no sum depends on its order
    assert tuple(map(float, best_share(torch.zeros(9)))) == (1, 0)
    quantizer = UnifiedGradient(UnifiedInt8())
    for value, factor in ((0.0, 1.0), (0.05, math.exp(-1)), (0.5, 0.1)):
        assert quantizer.rate_factor(value) == pytest.approx(factor)


def test_channels_are_clipped_by_their_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    quantizer, state = AdaptiveGradient(AdaptiveInt8(), 2), PhiloxState()
    clips: list[tuple[float, float]] = []
    for step in range(4):
        g = torch.randn(8, 2, 16, 16, generator=generator) * (step + 1)
        g[:, 1] = g[:, 1] ** 7
        state.step = step
        quantizer.quantize(g, state, lambda purpose: state.key(0, purpose))
        share = [float((g[:, c].abs() > g[:, c].std(correction=0)).float().mean()) for c in (0, 1)]
        assert share[0] > 0.3 > share[1]
        most = [float(g[:, c].abs().max()) for c in (0, 1)]
        clips.append((most[0], most[1] if not clips else 0.2 * clips[-1][1] + 0.8 * most[1]))
        assert quantizer.channel_clip.tolist() == pytest.approx(clips[-1], rel=1e-5)


def lsq(x: Tensor, step: Tensor, low: int, high: int, elements: int) -> Tensor:
    """Learned step size as its authors write it: straight-through by detaching, the step's gradient scaled."""
    factor = 1 / math.sqrt(elements * high)
    scaled = (step - step * factor).detach() + step * factor
    v = (x / scaled).clamp(low, high)
    return ((v.round() - v).detach() + v) * scaled


@pytest.mark.parametrize("bits", [(2, 3), (4, 4), (8, 8)])
@pytest.mark.parametrize("signed", [False, True])
def test_lsq_equals_automatic_differentiation(bits: tuple[int, int], *, signed: bool) -> None:
    for module in modules():
        x = inputs(module) if signed else inputs(module).abs()
        layer = swapped(module, Lsq(weight_bits=bits[0], activation_bits=bits[1]))
        assert isinstance(layer, SteppedLayer)
        x.requires_grad_()
        y = layer(x)
        low, high = (-(2 ** (bits[1] - 1)), 2 ** (bits[1] - 1) - 1) if signed else (0, 2 ** bits[1] - 1)
        assert float(layer.activation_step.detach()) == pytest.approx(
            2 * float(x.detach().abs().mean()) / math.sqrt(high)
        )
        g = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        steps = [step.detach().double().requires_grad_() for step in (layer.activation_step, layer.weight_step)]
        xd, wd = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
        half = 2 ** (bits[0] - 1)
        quantized = lsq(xd, steps[0], low, high, x[0].numel()), lsq(wd, steps[1], -half, half - 1, wd.numel())
        expected = plain(module, *quantized)
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=1e-4 * float(expected.detach().abs().max()))
        one = torch.autograd.grad(y, (x, layer.weight, layer.activation_step, layer.weight_step), g)
        other = torch.autograd.grad(expected, (xd, wd, *steps), g.double())
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=1e-4 * float(theirs.detach().abs().max()))


def test_the_soft_round_has_the_slope_of_its_formula() -> None:
    v = torch.linspace(-3.97, 3.96, 997, dtype=torch.float64, requires_grad=True)
    w = v - v.detach().floor() - 0.5
    soft = v.detach().floor() + 0.5 + torch.atan(2.0 * w) / (2 * math.atan(1.0))
    (expected,) = torch.autograd.grad(soft.sum(), v)
    layer = swapped(modules()[1], LgLsq(sharpness=2.0))
    assert isinstance(layer, SteppedLayer)
    quantizer = layer.quantizers()[1]
    found, of_step = quantizer.gradients(v.detach(), torch.ones(()), torch.ones_like(v), 1)
    torch.testing.assert_close(found, expected)
    by_chain = (v.detach().round() - v.detach() * expected).sum() / math.sqrt(quantizer.codes.highest)
    torch.testing.assert_close(of_step, by_chain)
