from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops

RANGES = st.lists(st.sampled_from([0.0, 1e-45, 1e-30, 0.01, 1.0, 1.0, 2.0, 3.7, 1000.0]), min_size=1, max_size=24)


def _select(ranges: list[float], kept: int, pruning: str, step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    hi = torch.tensor(ranges)
    index, factor = ops.select_groups(-hi / 2, hi / 2, kept, pruning, 11, step, 4, 1)
    return index, factor


def _probabilities(ranges: list[float], kept: int) -> list[Fraction]:
    """Water filling in exact fractions: p proportional to the range, capped at 1, summing to `kept`."""
    left, budget = {i: Fraction(r) for i, r in enumerate(ranges) if r > 0}, Fraction(kept)
    p = [Fraction(0)] * len(ranges)
    if len(left) <= kept:
        zeros = [i for i, r in enumerate(ranges) if r == 0]
        for i in left:
            p[i] = Fraction(1)
        for i in zeros:
            p[i] = (budget - len(left)) / len(zeros)
        return p
    while True:
        total = sum(left.values())
        over = [i for i, r in left.items() if budget * r >= total]
        if not over:
            break
        for i in over:
            p[i] = Fraction(1)
            del left[i]
            budget -= 1
    for i, r in left.items():
        p[i] = budget * r / total
    return p


@given(RANGES, st.data(), st.integers(0, 10_000))
@settings(max_examples=80)
def test_systematic_keeps_exactly_k_with_factors_one_over_p(
    ranges: list[float], data: st.DataObject, step: int
) -> None:
    kept = data.draw(st.integers(1, len(ranges)))
    index, factor = _select(ranges, kept, "systematic", step)
    assert len(index) == kept
    assert index.tolist() == sorted(set(index.tolist()))
    expected = _probabilities(ranges, kept)
    for i, f in zip(index.tolist(), factor.tolist(), strict=True):
        # Ranges are placed on 65535 steps, rounded up: p is right to a step, relative to the largest range.
        largest = max(ranges)
        if ranges[i] > 0.005 * largest:
            assert 1 / f == pytest.approx(float(expected[i]), rel=0.005)
        else:
            assert f >= 1


@given(RANGES, st.data(), st.integers(0, 10_000))
@settings(max_examples=60)
def test_bernoulli_never_drops_what_is_certain(ranges: list[float], data: st.DataObject, step: int) -> None:
    kept = data.draw(st.integers(1, len(ranges)))
    index, factor = _select(ranges, kept, "bernoulli", step)
    certain = {i for i, p in enumerate(_probabilities(ranges, kept)) if p == 1}
    assert certain <= set(index.tolist())
    assert bool((factor >= 1).all())


@given(RANGES, st.data(), st.integers(0, 10_000))
@settings(max_examples=40)
def test_dense_bernoulli_makes_the_same_choice(ranges: list[float], data: st.DataObject, step: int) -> None:
    """And its result has the same size whatever it chooses, also without values to choose by."""
    kept = data.draw(st.integers(1, len(ranges)))
    index, factor = _select(ranges, kept, "bernoulli", step)
    everything, factors = _select(ranges, kept, "bernoulli_dense", step)
    assert everything.tolist() == list(range(len(ranges)))
    assert torch.equal(factors, torch.zeros(len(ranges)).index_copy(0, index, factor))
    nothing = torch.empty(len(ranges), device="meta")
    assert ops.select_groups(nothing, nothing, kept, "bernoulli_dense", 1, 2, 3, 4)[1].shape == factors.shape


@given(RANGES, st.data())
@settings(max_examples=40)
def test_topk_takes_the_largest_and_the_first_of_ties(ranges: list[float], data: st.DataObject) -> None:
    kept = data.draw(st.integers(1, len(ranges)))
    index, factor = _select(ranges, kept, "topk")
    order = sorted(range(len(ranges)), key=lambda i: (-torch.tensor(ranges[i]).div(2).item(), i))
    assert index.tolist() == sorted(order[:kept])
    assert factor.tolist() == [1.0] * kept


def test_topk_goes_by_magnitude_not_by_range() -> None:
    lo, hi = torch.tensor([-1.0, 4.9]), torch.tensor([1.0, 5.0])
    assert ops.select_groups(lo, hi, 1, "topk", 0, 0, 0, 0)[0].tolist() == [1]


@pytest.mark.parametrize("pruning", ["bernoulli", "systematic"])
@pytest.mark.parametrize(
    ("ranges", "kept"),
    [
        ([1.0] * 8, 2),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2),
        ([100.0, 1.0, 1.0, 2.0, 4.0, 0.0], 3),
        ([5.0, 0.0, 0.0, 0.0, 0.0], 2),
        ([1.0, 1.0, 1e-9], 1),
    ],
)
def test_groups_are_kept_as_often_as_their_factor_says(pruning: str, ranges: list[float], kept: int) -> None:
    draws = 1500
    counts = torch.zeros(len(ranges), dtype=torch.float64)
    factors: dict[int, float] = {}
    for step in range(draws):
        index, factor = _select(ranges, kept, pruning, step)
        counts[index] += 1
        factors.update(zip(index.tolist(), factor.tolist(), strict=True))
    # Hoeffding: off by more than `bound` for any group with probability at most 1e-6.
    bound = math.sqrt(math.log(2 * len(ranges) / 1e-6) / (2 * draws))
    expected = [1 / factors[i] if i in factors else 0.0 for i in range(len(ranges))]
    assert float((counts / draws - torch.tensor(expected, dtype=torch.float64)).abs().max()) <= bound
    assert sum(float(p) for p in _probabilities(ranges, kept)) == pytest.approx(kept)
    assert float(counts.sum() / draws) == pytest.approx(kept, abs=bound * len(ranges))


def test_a_constant_group_that_is_not_zero_can_be_kept() -> None:
    # Its range is 0; with probability 0 the estimate would be biased.
    lo = hi = torch.tensor([1.0, 1.0, 1.0, 1.0])
    kept = {int(ops.select_groups(lo, hi, 1, "systematic", 0, step, 0, 0)[0]) for step in range(64)}
    assert kept == {0, 1, 2, 3}


def test_none_keeps_all() -> None:
    index, factor = _select([0.0, 1.0, 2.0], 1, "none")
    assert (index.tolist(), factor.tolist()) == ([0, 1, 2], [1.0, 1.0, 1.0])


def test_wrong_arguments_are_named() -> None:
    one = torch.ones(3)
    with pytest.raises((ValueError, RuntimeError), match="pruning must be one of"):
        ops.select_groups(one, one, 1, "best", 0, 0, 0, 0)
    for kept in (0, 4):
        with pytest.raises((ValueError, RuntimeError), match="kept must be 1 to 3"):
            ops.select_groups(one, one, kept, "topk", 0, 0, 0, 0)
