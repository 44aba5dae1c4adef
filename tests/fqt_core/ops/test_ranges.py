from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops
from fqt_core.ops.ranges import MOMENT_LEVELS
from tests.fqt_core import independent
from tests.fqt_core.cases import gradient

SHAPES = [(1, 1), (5, 3), (3, 7, 2, 3), (4, 1, 3, 3), (2, 20, 5, 7)]


@given(shape=st.sampled_from(SHAPES), dim=st.integers(0, 1), seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_range(shape: tuple[int, ...], dim: int, seed: int) -> None:
    g = gradient(shape, seed)
    lo, hi = ops.group_range(g, dim)
    rows = independent.group_rows(g, dim)
    assert lo.tolist() == rows.min(1).tolist()
    assert hi.tolist() == rows.max(1).tolist()
    assert not bool(torch.signbit(lo[lo == 0]).any())


@given(shape=st.sampled_from(SHAPES), dim=st.integers(0, 1), seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_moments_give_mean_and_variance(shape: tuple[int, ...], dim: int, seed: int) -> None:
    g = gradient(shape, seed)
    lo, hi = ops.group_range(g, dim)
    first, second = ops.group_moments(g, dim, lo, hi)
    rows = torch.from_numpy(independent.group_rows(g, dim).copy()).double()
    unit = (hi.double() - lo.double()) / MOMENT_LEVELS
    mean = first / rows.shape[1]
    # Each element is placed to half a step, and by a few roundings of float32.
    assert bool(((lo.double() + mean * unit - rows.mean(1)).abs() <= unit).all())
    sigma = (second / rows.shape[1] - mean**2).clamp(min=0).sqrt() * unit
    assert bool(((sigma - rows.var(1, correction=0).sqrt()).abs() <= unit).all())


def test_one_infinity_or_nan_is_seen_in_either_direction() -> None:
    for bad in (float("nan"), float("inf"), float("-inf")):
        g = torch.zeros(2, 3, 5, 5)
        g[1, 2, 4, 4] = bad
        for dim in (0, 1):
            lo, hi = ops.group_range(g, dim)
            assert torch.isfinite(hi - lo).tolist() == [True] * (g.shape[dim] - 1) + [False]


def test_an_empty_gradient_is_refused() -> None:
    with pytest.raises((ValueError, RuntimeError), match="empty"):
        ops.group_range(torch.zeros(0, 3), 0)
