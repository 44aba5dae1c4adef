"""Shares out a budget: which of its settings each layer gets, so that the sum of losses is least.

An exact solution (the multiple-choice knapsack problem) by dynamic programming over costs in whole units. The unit does
not depend on the budget, so a larger budget allows all that a smaller one does: more budget is never worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fqt_core.errors import ConfigurationError

MOST_UNITS = 1 << 18
"""Costs are rounded up to units so that no sum has more of them."""


def allocate(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], budget: int) -> list[int]:
    """Choose one setting for each layer.

    Args:
        costs: of each setting of each layer, at least 0.
        losses: of the same settings, finite.
        budget: what the chosen costs may sum up to.

    Returns:
        The number of each layer's setting: the least sum of losses; of equals, the least sum of costs.

    Raises:
        ConfigurationError: even the cheapest settings are over the budget.
    """
    least = sum(min(row) for row in costs)
    if least > budget:
        raise ConfigurationError(f"the cheapest choice costs {least}, more than the budget of {budget}")
    most = sum(max(row) for row in costs)
    unit = max(math.gcd(*(cost for row in costs for cost in row)), -(-most // MOST_UNITS), 1)
    units = min(budget, most) // unit
    total = np.zeros(units + 1)  # the least loss of the layers so far for at most so many units
    chosen = []
    for row, loss in zip(costs, losses, strict=True):
        best, which = np.full(units + 1, np.inf), np.zeros(units + 1, dtype=np.int64)
        for number in sorted(range(len(row)), key=lambda n: row[n]):
            size = -(-row[number] // unit)
            if size <= units:
                found = total[: units + 1 - size] + loss[number]
                better = found < best[size:]
                best[size:][better] = found[better]
                which[size:][better] = number
        total = best
        chosen.append(which)
    if not math.isfinite(total[units]):  # costs that were rounded up
        return [min(range(len(row)), key=lambda n: row[n]) for row in costs]
    left, picks = int(np.argmin(total)), []
    for row, which in zip(reversed(costs), reversed(chosen), strict=True):
        picks.append(int(which[left]))
        left -= -(-row[picks[-1]] // unit)
    return picks[::-1]
