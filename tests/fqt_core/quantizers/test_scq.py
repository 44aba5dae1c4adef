from __future__ import annotations

import pytest
import torch

from fqt_core.config import GradientQuantizer
from fqt_core.quantizers import GroupRanges, quantize
from fqt_core.random import PhiloxKey
from tests.fqt_core.cases import gradient


def _estimate(g: torch.Tensor, quantizer: GradientQuantizer, step: int) -> torch.Tensor:
    dim = 0 if quantizer.groups == "sample" else 1
    q = quantize(g, GroupRanges.scan(g, dim), quantizer, PhiloxKey(1, step, 0, 0), PhiloxKey(1, step, 0, 1))
    result = torch.zeros_like(g)
    if dim == 0:
        result[q.index] = q.dequantize()
    else:
        result[:, q.index] = q.dequantize()
    return result


@pytest.mark.parametrize("groups", ["sample", "channel"])
@pytest.mark.parametrize("kind", range(7))
def test_eight_bits_are_within_a_step(groups: str, kind: int) -> None:
    g = gradient((4, 6, 3, 5), 70 + kind)
    quantizer = GradientQuantizer(groups, 8)  # type: ignore[arg-type]
    others = (1, 2, 3) if groups == "sample" else (0, 2, 3)
    delta = (g.amax(others, keepdim=True) - g.amin(others, keepdim=True)) / 255
    error = (_estimate(g, quantizer, 0) - g).abs()
    assert bool((error <= delta * 1.001 + g.abs() * 1e-6 + 1e-44).all())


@pytest.mark.parametrize("groups", ["sample", "channel"])
def test_a_constant_gradient_is_exact(groups: str) -> None:
    g = torch.full((4, 6, 3, 5), -0.3)
    assert torch.equal(_estimate(g, GradientQuantizer(groups, 1), 0), g)  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", ["sample", "channel"])
@pytest.mark.parametrize("pruning", ["none", "bernoulli", "systematic", "topk"])
def test_the_estimate_is_unbiased_unless_it_is_topk(groups: str, pruning: str) -> None:
    g = torch.randn(6, 5, 2, 2, generator=torch.Generator().manual_seed(4))
    g[1], g[:, 2] = g[1] * 5, g[:, 2] * 3
    keep = 1.0 if pruning == "none" else 0.4
    quantizer = GradientQuantizer(groups, 2, keep, pruning)  # type: ignore[arg-type]
    draws = 1200
    estimates = torch.stack([_estimate(g, quantizer, step) for step in range(draws)]).double()
    # Normal tail with Bonferroni over the 120 elements: a false alarm once in a million. An element near a level may
    # never have been rounded the other way; that it has a chance of more than 20 / draws to be is left to exp(-20).
    limit = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - 1e-6 / 240, dtype=torch.float64))
    rare = 20 / draws * float(g.max() - g.min()) / 3
    allowed = limit * estimates.std(0) / draws**0.5 + rare
    excess = float(((estimates.mean(0) - g.double()).abs() / allowed).max())
    if pruning == "topk":
        assert excess > 10
    else:
        assert excess <= 1


def test_variance_is_at_most_a_quarter_of_the_squared_step() -> None:
    g = torch.randn(1, 200, generator=torch.Generator().manual_seed(4))
    estimates = torch.stack([_estimate(g, GradientQuantizer("sample", 2), step) for step in range(600)])
    delta = float(g.max() - g.min()) / 3
    # The variance of a two-valued sample of n cannot exceed Δ²/4 · n / (n - 1).
    assert float(estimates.var(0).max()) <= delta**2 / 4 * (600 / 599) * 1.00001


def test_ranges_know_zero_and_non_finite() -> None:
    assert GroupRanges.scan(torch.zeros(3, 4), 0).is_zero()
    assert not GroupRanges.scan(torch.tensor([[0.0, 1e-45]]), 0).is_zero()
    assert not GroupRanges.scan(torch.tensor([[1.0, float("nan")]]), 0).is_finite()
    assert not GroupRanges.scan(torch.tensor([[3e38, -3e38]]), 0).is_finite()
