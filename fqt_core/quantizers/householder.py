"""Block Householder quantiser (BHQ): rows of small range take over the noise of a row of large range.

The rows (samples) of a gradient are put into blocks of one row of large range, the head, and k - 1 of small range.
Within a block, and with m the range of a row,

::

    y = Q · diag(s) · x,   Q = I - 2 v vᵀ,  v ∝ 1/√k - e_head          (Q is symmetric and its own inverse)
    s_head = a^(-1/3) · r,  s_other = c^(-1/3) · r,                    r = √(a^(2/3) + c^(2/3))
    a = m_head / √k,        c = max m_other · max |Q| / (k - 1)

y is quantised per row (:mod:`fqt_core.quantizers.stochastic`), and x̂ = diag(1/s) · Q · ŷ is unbiased as ŷ is, for the
way back is linear. It may be taken after a product that treats rows alike, so that the product itself is of integers.

Blocks: rows are sorted by m, descending. Of N rows the n smallest are no heads, n the least with
``n · m[N - n - 1] >= Σ m[i], i < N - n``; they are shared out in that order, a head i getting ``n · m[i] / Σ m`` of
them, rounded as cumulative sums. Guards: fewer than two rows, or ranges that are all zero, make blocks of one row,
where Q = 1 and s = 1; so does a head that gets no others. Where all others have a range of zero, theirs counts as
2**-20 of the head's.

Source: arXiv 2010.14298, and the facts of its authors' public code (github cjf00000/StatQuant).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

_LEAST_RATIO = 2.0**-20


@dataclass(frozen=True)
class HouseholderBlocks:
    """Which block each of N rows belongs to, and what it is multiplied by there.

    ``block``: int64 (N,), numbers of blocks; ``scale``: float32 (N,), s; ``reach``: float32 (N,), 1/√k, minus 1 for a
    head; ``size``: float32 (blocks,), k.
    """

    block: Tensor
    scale: Tensor
    reach: Tensor
    size: Tensor

    @classmethod
    def of(cls, ranges: Tensor) -> HouseholderBlocks:
        """The blocks for rows of these ranges, float32 (N,), finite."""
        values, order = ranges.double().sort(descending=True, stable=True)
        count = len(order)
        block, scale, reach = [0] * count, [1.0] * count, [0.0] * count
        sizes: list[float] = []
        for rows in _split(values.tolist()):
            head, others = _scales([float(values[row]) for row in rows])
            for row in rows:
                place, is_head = int(order[row]), row == rows[0]
                block[place], scale[place] = len(sizes), head if is_head else others
                reach[place] = 1 / math.sqrt(len(rows)) - is_head
            sizes.append(float(len(rows)))
        floats = (torch.tensor(found, dtype=torch.float32, device=ranges.device) for found in (scale, reach, sizes))
        return cls(torch.tensor(block, dtype=torch.int64, device=ranges.device), *floats)

    def mix(self, x: Tensor) -> Tensor:
        """``Q · diag(s) · x``: float32 (N, *) to the same shape."""
        rows = x.flatten(1) * self.scale[:, None]
        return self._reflect(rows).view(x.shape)

    def separate(self, y: Tensor) -> Tensor:
        """``diag(1/s) · Q · y``: float32 (N, *) to the same shape."""
        return (self._reflect(y.flatten(1)) / self.scale[:, None]).view(y.shape)

    def _reflect(self, rows: Tensor) -> Tensor:
        """``Q · rows``. With c = 1/√k, v = (c - e_head) / √(2 - 2c), so 2 v vᵀ = reach · reachᵀ / (1 - c)."""
        root = self.size.sqrt().reciprocal()
        weight = torch.where(self.size > 1, 1 / (1 - root), 0.0)
        along = rows.new_zeros(len(self.size), rows.shape[1]).index_add_(0, self.block, rows * self.reach[:, None])
        return rows - self.reach[:, None] * (weight[:, None] * along)[self.block]


def _split(values: list[float]) -> list[list[int]]:
    """Blocks of numbers of rows, a head first, for ranges in descending order."""
    count = len(values)
    if count < 2 or values[0] <= 0:
        return [[row] for row in range(count)]
    rest, others = math.fsum(values), 0
    while True:
        others += 1
        rest -= values[count - others]
        if others == count - 1 or others * values[count - others - 1] >= rest:
            break
    heads = count - others
    total = math.fsum(values[:heads])
    bounds, reached = [heads], 0.0
    for head in range(heads):
        reached += others * values[head] / total
        bounds.append(heads + min(others, round(reached)))
    bounds[-1] = count
    return [[head, *range(first, last)] for head, (first, last) in enumerate(pairwise(bounds))]


def _scales(ranges: list[float]) -> tuple[float, float]:
    """s of the head and of the others of a block, from the ranges of its rows."""
    k = len(ranges)
    if k == 1 or ranges[0] <= 0:
        return 1.0, 1.0
    root = 1 / math.sqrt(k)
    step = (1 / k) / (1 - root)
    largest = max(root, abs(1 - step), step if k > 2 else 0.0)
    head = ranges[0] * root
    others = max(ranges[1], ranges[0] * _LEAST_RATIO) * largest / (k - 1)
    norm = math.hypot(math.cbrt(head), math.cbrt(others))
    return norm / math.cbrt(head), norm / math.cbrt(others)
