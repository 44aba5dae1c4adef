"""Activation gradient pruning (AGP): spend the bits on few groups.

The ranges of a gradient's groups are very unequal. Keeping k of n groups and giving each 1/keep times the bits costs
the same on average and loses less. The kept groups are gathered into a smaller tensor before any product.

Formula: ``k = max(1, floor(n · keep))``; group i is kept with probability ``p_i = min(1, c · R_i)``, ``Σ p_i = k``,
    and its value multiplied by ``1 / p_i``, so that the estimate is unbiased (``bernoulli``, ``systematic``).
    ``topk`` keeps the k largest as they are.

Source: arXiv 2408.14267 (``bernoulli`` is what it analyses, ``topk`` what its authors' code runs; ``systematic`` is
    ours).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from fqt_core import ops
from fqt_core.config import GradientQuantizer
from fqt_core.ops import waiting
from fqt_core.random import PhiloxKey


@dataclass(frozen=True)
class Selection:
    """The groups that are kept: int64 (k,) their numbers, rising; float32 (k,) the factor 1 / p of each.

    ``dense``: there are as many entries as groups, for how many are kept only a GPU knows; those of the others have
    factor 0.
    """

    index: Tensor
    factor: Tensor
    dense: bool = False


def number_kept(factor: Tensor) -> int:
    """How many groups were kept, from the factors of a :class:`Selection`."""
    return int(factor.count_nonzero())


def least_probability(factor: Tensor) -> float:
    """The least p among kept groups, from the factors of a :class:`Selection`; 0 if none was kept."""
    return float(1 / factor.max()) if number_kept(factor) else 0.0


def kept_count(groups: int, keep: float) -> int:
    """``max(1, floor(groups · keep))``; a product that only rounding keeps below an integer counts as that integer."""
    return min(groups, max(1, math.floor(groups * keep + 1e-9)))


def taken_count(groups: int, quantizer: GradientQuantizer, like: Tensor) -> int:
    """How many of ``groups`` the codes are of, on the device of ``like``; where chance decides, on average."""
    return groups if _takes_all(quantizer, like) else kept_count(groups, quantizer.keep)


def _takes_all(quantizer: GradientQuantizer, like: Tensor) -> bool:
    """Whether groups that are not kept are taken with a factor of 0, since to know their number would be to wait."""
    return quantizer.pruning == "bernoulli" and not waiting.at_once(like)


def select(lo: Tensor, hi: Tensor, quantizer: GradientQuantizer, key: PhiloxKey) -> Selection:
    """Choose the groups to keep from their ranges, float32 (n,) each; nothing here waits for a GPU."""
    kept = kept_count(lo.shape[0], quantizer.keep)
    dense = _takes_all(quantizer, lo)
    pruning = "bernoulli_dense" if dense else quantizer.pruning
    return Selection(*ops.select_groups(lo, hi, kept, pruning, *key), dense=dense)
