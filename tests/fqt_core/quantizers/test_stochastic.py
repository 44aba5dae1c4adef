from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops
from fqt_core.quantizers.stochastic import clipped_range
from tests.fqt_core import independent
from tests.fqt_core.cases import gradient


@given(
    shape=st.sampled_from([(1, 1), (5, 3), (3, 7, 4, 3), (4, 1, 9, 3)]),
    dim=st.integers(0, 1),
    seed=st.integers(0, 10_000),
    clip=st.sampled_from([0.5, 1.0, 2.0, 9.0]),
)
@settings(max_examples=50)
def test_clipping_is_mean_and_deviations_within_the_range(
    shape: tuple[int, ...], dim: int, seed: int, clip: float
) -> None:
    g = gradient(shape, seed)
    lo, hi = ops.group_range(g, dim)
    low, high = clipped_range(g, dim, lo, hi, clip)
    assert bool(((lo <= low) & (low <= high) & (high <= hi)).all())
    rows = torch.from_numpy(independent.group_rows(g, dim).copy()).double()
    mean, sigma = rows.mean(1), rows.var(1, correction=0).sqrt()
    unit = (hi.double() - lo.double()) / 65535 * (2 + clip) + 2e-7 * rows.abs().amax(1) + 1e-45
    assert bool(((low - torch.maximum(lo.double(), mean - clip * sigma)).abs() <= unit).all())
    assert bool(((high - torch.minimum(hi.double(), mean + clip * sigma)).abs() <= unit).all())


def test_clipping_does_not_depend_on_the_order_of_elements() -> None:
    g = torch.randn(3, 4, 11, 13)
    shuffled = g.flatten(1)[:, torch.randperm(4 * 11 * 13)].view_as(g)
    lo, hi = ops.group_range(g, 0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(clipped_range(g, 0, lo, hi, 2), clipped_range(shuffled, 0, lo, hi, 2), strict=True)
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_what_the_codes_of_kept_groups_stand_for(bits: int) -> None:
    lo, hi = torch.tensor([9.0, -1.0, 0.5]), torch.tensor([9.0, 2.0, 0.5])
    kept = ops.kept_ranges(lo, hi, torch.tensor([1, 2]), torch.tensor([4.0, 2.0]), bits)
    step = torch.tensor(3.0).div(torch.tensor(2.0**bits - 1)).item()
    assert [vector.tolist() for vector in kept] == [[-1.0, 0.5], [2.0, 0.5], [step * 4, 0.0], [-4.0, 1.0]]
