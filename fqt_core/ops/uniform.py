"""Uniform random numbers by themselves."""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.geometry import check
from fqt_core.ops.registry import operation
from fqt_core.random import PhiloxKey, uniform


def _uniform_fake(groups: Tensor, size: int, seed: int, step: int, layer: int, purpose: int) -> Tensor:
    del seed, step, layer, purpose
    return groups.new_empty((groups.shape[0], size), dtype=torch.float32)


@operation(
    "uniform_numbers(Tensor groups, int size, int seed, int step, int layer, int purpose) -> Tensor", fake=_uniform_fake
)
def uniform_numbers(groups: Tensor, size: int, seed: int, step: int, layer: int, purpose: int) -> Tensor:
    """Uniform numbers in [0, 1), multiples of 2**-24, of some groups; layout of counters in :mod:`fqt_core.random`.

    Args:
        groups: int64 (k,), which groups.
        size: numbers of each group of the sequence.
        seed, step, layer, purpose: a :class:`fqt_core.random.PhiloxKey`.

    Returns:
        float32 (k, size).
    """
    check(groups.dtype == torch.int64 and groups.dim() == 1, "groups must be int64 with 1 dimension")
    check(0 <= size < 1 << 34, f"size must be at least 0 and below 2**34, got {size}")
    most = (1 << 32) // max(1, -(-size // 4))
    check(
        groups.numel() == 0 or 0 <= int(groups.min()) <= int(groups.max()) < most,
        f"groups must be at least 0 and below {most}",
    )
    return uniform(PhiloxKey(seed, step, layer, purpose), groups, size)
