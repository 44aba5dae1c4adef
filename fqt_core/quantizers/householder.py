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

from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core.ops import waiting

_LEAST_RATIO = 2.0**-20


@dataclass(frozen=True)
class HouseholderBlocks:
    """Which block each of N rows belongs to, and what it is multiplied by there.

    ``block``: int64 (N,), numbers of blocks; ``scale``: float32 (N,), s; ``reach``: float32 (N,), 1/√k, minus 1 for a
    head; ``size``: float32 (blocks,), k, 0 for a block without rows.
    """

    block: Tensor
    scale: Tensor
    reach: Tensor
    size: Tensor

    @classmethod
    def of(cls, ranges: Tensor) -> HouseholderBlocks:
        """The blocks for rows of these ranges, float32 (N,); one that is not finite counts as 0.

        No value decides what is computed, so that nothing waits for a GPU: there are N blocks then, some without rows.
        """
        count = len(ranges)
        row = torch.arange(count, dtype=torch.int64, device=ranges.device)
        if count < 2:
            one = torch.ones_like(ranges)
            return cls(row, one, torch.zeros_like(ranges), one)
        values, order = torch.where(ranges.isfinite(), ranges, 0.0).double().sort(descending=True, stable=True)
        heads, first = _split(values, row)
        block = torch.where(row < heads, row, torch.searchsorted(first[1:].contiguous(), row, right=True))
        size = torch.zeros_like(values).index_add_(0, block, torch.ones_like(values))
        if waiting.at_once(ranges):
            size = size[: int(heads)]
        head, others = _scales(values[: len(size)], values[first[: len(size)].clamp(max=count - 1)], size)
        is_head = row < heads
        scale = torch.where(is_head, head[block], others[block])
        reach = size[block].rsqrt() - is_head.double()
        place = order.argsort()
        return cls(block[place], scale[place].to(torch.float32), reach[place].to(torch.float32), size.to(torch.float32))

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
        along = _block_sums(self.block, rows * self.reach[:, None], len(self.size))
        return rows - self.reach[:, None] * (weight[:, None] * along)[self.block]


def _block_sums(block: Tensor, rows: Tensor, blocks: int) -> Tensor:
    """Sums of the rows of each block, float32 (blocks, m), in the order of rows."""
    sums = rows.new_zeros(blocks, rows.shape[1])
    if rows.is_cpu:
        return sums.index_add_(0, block, rows)
    return sums.index_put_((block,), rows, accumulate=True)  # sorts; index_add_ takes rows as a GPU comes by them


def _split(values: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """How many heads there are, and where each one's other rows begin, for ranges in descending order.

    Args:
        values: float64 (N,), N at least 2.
        row: int64 (N,), 0 to N - 1.

    Returns:
        int64 (), and int64 (N + 1,): those of head i are rows ``first[i]`` to ``first[i + 1]``.
    """
    count = len(values)
    reached = values.cumsum(0)
    heads = row + 1  # as many as candidates
    enough = (count - heads) * values >= reached
    some = torch.where(enough[:-1], heads[:-1], 1).max()
    found = torch.where(values[0] > 0, some, count)
    others = count - found
    total = torch.where(values[0] > 0, reached.take(found - 1), 1.0)
    share = (others * values / total).cumsum(0).round().to(torch.int64)
    last = torch.where(heads < found, found + torch.minimum(share, others), count)
    return found, torch.cat([found[None], last])


def _scales(head: Tensor, second: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """s of the heads and of the others of blocks, from the ranges of their first two rows and k; float64 each."""
    root = size.rsqrt()
    step = (1 / size) / (1 - root)
    largest = torch.maximum(root, (1 - step).abs()).maximum(torch.where(size > 2, step, 0.0))
    a = (head * root) ** (1 / 3)
    c = (torch.maximum(second, head * _LEAST_RATIO) * largest / (size - 1)) ** (1 / 3)
    norm = torch.hypot(a, c)
    mixes = (size > 1) & (head > 0)
    return torch.where(mixes, norm / a, 1.0), torch.where(mixes, norm / c, 1.0)
