"""The shares of a budget: never over it, none better, and more budget is never worse."""

from __future__ import annotations

from itertools import product
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core.errors import ConfigurationError
from fqt_core.training import allocation
from fqt_core.training.allocation import allocate

Table: TypeAlias = tuple[list[list[int]], list[list[float]]]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Costs and losses of up to four layers with up to five settings each."""
    costs, losses = [], []
    for _ in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 5))
        costs.append(draw(st.lists(st.integers(0, 60), min_size=count, max_size=count)))
        losses.append(draw(st.lists(st.integers(0, 99).map(float), min_size=count, max_size=count)))
    return costs, losses


def total(table: list[list[int]] | list[list[float]], picks: list[int]) -> float:
    return sum(row[pick] for row, pick in zip(table, picks, strict=True))


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(0, 200), st.integers(0, 60))
def test_the_choice_is_the_best_within_the_budget_and_more_budget_is_no_worse(
    table: Table, budget: int, more: int
) -> None:
    costs, losses = table
    within = [p for p in product(*(range(len(row)) for row in costs)) if total(costs, list(p)) <= budget]
    if not within:
        with pytest.raises(ConfigurationError, match="more than the budget"):
            allocate(costs, losses, budget)
        return
    picks = allocate(costs, losses, budget)
    assert total(costs, picks) <= budget
    least = min(total(losses, list(p)) for p in within)
    assert total(losses, picks) == least
    assert total(costs, picks) == min(total(costs, list(p)) for p in within if total(losses, list(p)) == least)
    assert total(losses, allocate(costs, losses, budget + more)) <= least


@settings(max_examples=60, deadline=None)
@given(tables(), st.integers(0, 200), st.integers(0, 60), st.integers(8, 40))
def test_costs_that_are_rounded_keep_the_budget_and_the_order(table: Table, budget: int, more: int, units: int) -> None:
    """Networks whose sizes have no common divisor: costs are counted in coarser units, upwards."""
    costs, losses = table
    kept = allocation.MOST_UNITS
    allocation.MOST_UNITS = units
    try:
        if sum(map(min, costs)) <= budget:
            picks = allocate(costs, losses, budget)
            assert total(costs, picks) <= budget
            assert total(losses, allocate(costs, losses, budget + more)) <= total(losses, picks)
    finally:
        allocation.MOST_UNITS = kept
