"""Unbiasedness of whole layers and chains: the mean over many draws against the full-precision gradient.

For each element of dL/dX and dL/dW, z = (mean - truth) / (standard deviation / sqrt(draws)) is normal to good
approximation; the largest |z| of m elements exceeds the bound of :func:`limit` by chance once in a million runs
(Bonferroni over the m elements). Draws are keyed by the step, so a run that passed always passes. The kernels of every
instruction set, and the reference, give the same draws bit for bit, so what holds for one of them holds for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.config import Method, MethodConfig
from fqt_core.fused import Block, Chain
from fqt_core.fused.block import obstacle
from fqt_core.fused.chain import run_chain
from fqt_core.layers import BinaryConv2d
from fqt_core.ops import native
from fqt_core.random import PhiloxState
from tests.fqt_core import independent
from tests.fqt_core.cases import Conv
from tests.fqt_core.layers.build import conv_layer

FALSE_ALARM = 1e-6
DRAWS = 200
COMPARED_DRAWS = 4
ISAS = ["reference", *sorted({isa for _, isa in native.KERNELS})]
PIXEL: dict[str, Any] = {"groups": "pixel", "bits": 2}
LAYERS = {
    "bernoulli": Method("fqt", bits=2, pruning="bernoulli"),
    "systematic": Method("fqt", bits=2, pruning="systematic"),
    "none": Method("fqt", bits=2, pruning="none"),
    "few": Method("fqt", bits=8, keep=0.25),
    "psq": Method("psq", bits=2),
    "dither": Method("fqt", **PIXEL, rounding="dither"),
    "dither-bernoulli": Method("fqt", **PIXEL, rounding="dither", pruning="bernoulli"),
    "dither-none": Method("fqt", **PIXEL, rounding="dither", pruning="none"),
    "pixel": Method("fqt", **PIXEL),
    "ptq": Method("statquant", forward=1, quantizer="ptq", bits=4),
    "bhq": Method("statquant", forward=1, quantizer="bhq", bits=4),
    "pixel-none": Method("fqt", groups="pixel", bits=1, pruning="none"),
}
CHAINS = {name: LAYERS[name] for name in ("bernoulli", "systematic", "none")} | {
    "dense": Method("psq", bits=8, weight_groups="channel")
}
CASE = Conv(6, 5, 4, (5, 4), (3, 3), (1, 1), (1, 1), (1, 1), 1, seed=15)


def limit(elements: int) -> float:
    """The bound of the largest |z|."""
    tail = torch.tensor(1 - FALSE_ALARM / (2 * elements), dtype=torch.float64)
    return float(torch.distributions.Normal(0.0, 1.0).icdf(tail))


@contextmanager
def kernels(isa: str) -> Iterator[None]:
    """Run the operations on the kernels of one instruction set, or of those below it, wherever they are called."""
    upto = [] if isa == "reference" else native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(isa) + 1]
    with pytest.MonkeyPatch.context() as patch:
        for name, row in ops.OPERATIONS.items():
            best = [one for one in upto if (name, one) in native.KERNELS]
            patch.setattr(ops, name, native.kernel(name, best[-1]) if best else row.reference)
        yield


class Estimator:
    """Draws of an estimate, flat; and the truth, float64."""

    def __init__(self, draw: Callable[[int], Tensor], truth: Tensor) -> None:
        self.draw, self.truth = draw, truth

    def largest_z(self) -> float:
        """The largest |z| over all elements; infinite if one that never moves is not the truth."""
        samples = torch.stack([self.draw(step) for step in range(DRAWS)]).double()
        deviation, scale = samples.std(0), self.truth.abs().max()
        error = (samples.mean(0) - self.truth).abs()
        moving = deviation > 1e-5 * scale
        if bool((error[~moving] > 1e-4 * scale).any()):
            return float("inf")
        return float((error[moving] / (deviation[moving] / DRAWS**0.5)).max())

    def is_unbiased(self) -> bool:
        """Whether the mean is within the bound."""
        return self.largest_z() <= limit(len(self.truth))

    def is_biased(self) -> bool:
        """Whether the mean is far beyond the bound."""
        return self.largest_z() > 2 * limit(len(self.truth))

    def assert_the_same_everywhere(self) -> None:
        """All kernels give the same draws."""
        expected = [self.draw(step) for step in range(COMPARED_DRAWS)]
        for isa in ISAS:
            with kernels(isa):
                assert all(torch.equal(self.draw(step), draw) for step, draw in enumerate(expected)), isa


def of_layer(method: MethodConfig) -> Estimator:
    """A convolution's two gradients."""
    layer = conv_layer(CASE, method, bias=False)
    generator = CASE.generator()
    g = torch.randn(CASE.output, generator=generator) * (torch.rand(CASE.output[0], 1, 1, 1, generator=generator) + 0.2)
    alpha = layer.scale()
    assert alpha is not None
    xd, wd = CASE.x().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    y = independent.binary_layer(xd, wd, alpha.detach().double(), None, **CASE.geometry)
    truth = torch.cat([part.flatten() for part in torch.autograd.grad(y, (xd, wd), g.double())])

    def draw(step: int) -> Tensor:
        layer.state.step, layer.weight.grad = step, None
        x = CASE.x().requires_grad_()
        layer(x).backward(g)
        assert x.grad is not None
        assert layer.weight.grad is not None
        return torch.cat([x.grad.flatten(), layer.weight.grad.flatten()])

    return Estimator(draw, truth)


def _chain(method: MethodConfig) -> Chain:
    state, blocks, channels = PhiloxState(seed=4), [], 6
    with torch.random.fork_rng():
        torch.manual_seed(8)
        for number, (outputs, pool) in enumerate(((8, True), (5, False))):
            module = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
            options: dict[str, Any] = {"method": method, "state": state, "layer_index": number, "name": f"conv{number}"}
            norm = nn.BatchNorm2d(outputs)
            nn.init.normal_(norm.weight, 1, 0.3)
            blocks.append(Block(BinaryConv2d.from_float(module, **options), norm, pool))
            channels = outputs
    return Chain(tuple(blocks))


def of_chain(method: MethodConfig) -> Estimator:
    """Those of a chain of two blocks: backward is linear in the gradient, so its mean goes through both."""
    chain = _chain(method)
    assert not obstacle(chain)
    generator = torch.Generator().manual_seed(3)
    x, g = (torch.randn(6, c, s, s, generator=generator) for c, s in ((6, 8), (5, 4)))

    def gradients(run: Callable[[Tensor], Tensor], convs: list[Any]) -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.cat([t.flatten() for t in torch.autograd.grad(run(leaf), [leaf, *[c.weight for c in convs]], g)])

    exact = _chain(Method("qat"))

    def layer_by_layer(h: Tensor) -> Tensor:
        for block in exact.blocks:
            h = block.conv(h)
            h = block.norm(nn.functional.max_pool2d(h, 2) if block.pool else h)
        return h

    truth = gradients(layer_by_layer, [block.conv for block in exact.blocks]).double()
    convs: list[Any] = [block.conv for block in chain.blocks]

    def draw(step: int) -> Tensor:
        convs[0].state.step = step
        return gradients(lambda h: run_chain(chain, h), convs)

    return Estimator(draw, truth)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_gradients_are_right_on_average(name: str) -> None:
    estimator = of_layer(LAYERS[name])
    assert estimator.is_unbiased()
    estimator.assert_the_same_everywhere()


@pytest.mark.parametrize("name", CHAINS)
def test_a_chains_gradients_are_right_on_average(name: str) -> None:
    estimator = of_chain(CHAINS[name])
    assert estimator.is_unbiased()
    estimator.assert_the_same_everywhere()


BIASED = {
    "topk": Method("fqt", bits=2, pruning="topk"),
    "pixel-topk": Method("fqt", **PIXEL, rounding="dither", pruning="topk"),
    "clip": Method("fqt", bits=2, clip=1.0),
    "pixel-clip": Method("fqt", **PIXEL, rounding="dither", clip=1.0),
}


@pytest.mark.parametrize("name", BIASED)
def test_what_is_told_to_be_biased_is_found_out(name: str) -> None:
    assert of_layer(BIASED[name]).is_biased()


def _rounds_down(patch: pytest.MonkeyPatch) -> None:
    def without_chance(g: Tensor, dim: int, index: Tensor, lo: Tensor, hi: Tensor, bits: int, *key: int) -> Tensor:
        del key
        rows = g.movedim(1, -1).flatten(1) if dim == 0 else g.transpose(0, 1).flatten(1)
        levels = 2**bits - 1
        places = (rows[index] - lo[:, None]) / (hi - lo)[:, None] * levels
        shape = (*g.shape[2:], g.shape[1]) if dim == 0 else (g.shape[0], *g.shape[2:])
        return places.floor().clamp(0, levels).to(torch.uint8).view(len(index), *shape)

    patch.setattr(ops, "quantize_groups", without_chance)


def _forgets_factors(patch: pytest.MonkeyPatch) -> None:
    select = ops.select_groups

    def forgetful(*arguments: Any) -> tuple[Tensor, Tensor]:
        index, factor = select(*arguments)
        return index, torch.ones_like(factor)

    patch.setattr(ops, "select_groups", forgetful)


def _dithers_one_way(patch: pytest.MonkeyPatch) -> None:
    dithered = ops.quantize_dithered

    def shifted(values: Tensor, lo: Tensor, hi: Tensor, sign: Tensor, level: Tensor, offset: Tensor, b: int) -> Tensor:
        return dithered(values, lo, hi, sign, level, torch.zeros_like(offset), b)

    patch.setattr(ops, "quantize_dithered", shifted)


@pytest.mark.parametrize(
    ("mutate", "name"),
    [
        (_rounds_down, "none"),
        (_rounds_down, "systematic"),
        (_rounds_down, "pixel"),
        (_forgets_factors, "bernoulli"),
        (_forgets_factors, "systematic"),
        (_forgets_factors, "dither"),
        (_dithers_one_way, "dither-none"),
    ],
)
def test_a_mutant_that_is_biased_is_caught(
    mutate: Callable[[pytest.MonkeyPatch], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    assert of_layer(LAYERS[name]).is_biased()
