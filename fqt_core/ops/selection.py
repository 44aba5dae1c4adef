"""Activation gradient pruning: which groups are kept, and what their values are multiplied by.

The arithmetic is in integers, so every device selects the same groups. A group's weight is r = ceil(R / max R ·
65535), where R = max(hi, 0) - min(lo, 0) is its range with zero included: it is 0 only for a group of zeros (a
constant group has range 0 but must not get probability 0, or the estimate would be biased).
"""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.division import divided
from fqt_core.ops.geometry import check
from fqt_core.ops.registry import operation
from fqt_core.random import UNIFORM_BITS, PhiloxKey, uniform_integers

_WEIGHT_LEVELS = 65535
_MAX_GROUPS = 1 << 22  # products with 24-bit numbers and 16-bit weights fit int64
PRUNINGS = ("none", "topk", "bernoulli", "bernoulli_dense", "systematic")


def _probabilities(lo: Tensor, hi: Tensor, kept: int) -> tuple[Tensor, Tensor, int, int]:
    """Share out ``kept`` expected picks in proportion to the groups' ranges, none above 1.

    What a capped group cannot take is shared among the others, until the sum is ``kept`` again. If fewer groups than
    ``kept`` are non-zero, all those are kept and the zero groups share what is left, so that the sum is always
    ``kept``.

    Returns:
        (certain, weight, picks, total): bool (n,) groups with p = 1; int64 (n,) weights, 0 where certain; the others
        have p = picks · weight / total.
    """
    extent = hi.double().clamp(min=0) - lo.double().clamp(max=0)
    r = (extent / extent.max().clamp(min=torch.finfo(torch.float64).tiny) * _WEIGHT_LEVELS).ceil().to(torch.int64)
    if int((r > 0).sum()) <= kept:
        certain = r > 0
        weight = (~certain).to(torch.int64)
    else:
        ordered = r.sort(descending=True).values
        tails = ordered.flip(0).cumsum(0).flip(0)
        ahead = torch.arange(r.numel(), dtype=torch.int64, device=r.device)
        # The j-th largest is certain if its share of what is left after j certain ones is 1 or more; these are a
        # prefix.
        capped = (kept - ahead) * ordered >= tails
        certain = torch.zeros_like(r, dtype=torch.bool)
        count = int(capped.to(torch.int64).cumprod(0).sum())
        certain[r.argsort(descending=True, stable=True)[:count]] = True
        weight = torch.where(certain, 0, r)
    return certain, weight, kept - int(certain.sum()), int(weight.sum())


def _select_fake(
    lo: Tensor,
    hi: Tensor,  # noqa: ARG001 - the operation's signature
    kept: int,
    pruning: str,
    seed: int,  # noqa: ARG001
    step: int,  # noqa: ARG001
    layer: int,  # noqa: ARG001
    purpose: int,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    count = kept
    if pruning in {"none", "bernoulli_dense"}:
        count = lo.shape[0]
    elif pruning == "bernoulli":
        count = torch.library.get_ctx().new_dynamic_size()  # type: ignore[assignment]
    return lo.new_empty(count, dtype=torch.int64), lo.new_empty(count)


@operation(
    "select_groups(Tensor lo, Tensor hi, int kept, str pruning, int seed, int step, int layer, int purpose)"
    " -> (Tensor, Tensor)",
    fake=_select_fake,
)
def select_groups(
    lo: Tensor, hi: Tensor, kept: int, pruning: str, seed: int, step: int, layer: int, purpose: int
) -> tuple[Tensor, Tensor]:
    """Choose groups by their ranges.

    - ``none`` keeps all.
    - ``topk`` keeps the ``kept`` groups of largest max|g|, the lower number first in a tie. Biased: nothing is scaled
      up.
    - ``bernoulli`` keeps group i if u_i < p_i; its number is random with mean ``kept``. Unbiased with the factor 1 /
      p_i.
    - ``bernoulli_dense`` makes the same choice and returns all groups, with factor 0 for those that are not kept. How
      many there are does not depend on values: on a GPU nobody has to wait for them.
    - ``systematic`` lays the p_i end to end and keeps those that hold one of the points u, u + 1, u + 2, …: exactly
      ``kept``, from one draw. Unbiased with the factor 1 / p_i.

    Args:
        lo, hi: float32 (n,), finite, at most 2**22 groups.
        kept: 1 to n.
        pruning: as above.
        seed, step, layer, purpose: a :class:`fqt_core.random.PhiloxKey`.

    Returns:
        int64 numbers of the kept groups (``bernoulli_dense``: of all), rising; float32 factor 1 / p of each.
    """
    n = lo.shape[0]
    check(lo.shape == hi.shape and lo.dim() == 1, "lo and hi must be vectors of one length")
    check(pruning in PRUNINGS, f"pruning must be one of {', '.join(PRUNINGS)}, got {pruning!r}")
    check(1 <= kept <= n <= _MAX_GROUPS, f"kept must be 1 to {n} groups and those at most 2**22, got {kept}")
    everything = torch.arange(n, dtype=torch.int64, device=lo.device)
    if pruning == "none" or (kept == n and pruning != "topk"):
        return everything, lo.new_ones(n, dtype=torch.float32)
    if pruning == "topk":
        largest = torch.maximum(lo.abs(), hi.abs()).sort(descending=True, stable=True).indices[:kept]
        return largest.sort().values, lo.new_ones(kept, dtype=torch.float32)
    key = PhiloxKey(seed, step, layer, purpose)
    certain, weight, picks, total = _probabilities(lo, hi, kept)
    only_group = everything[:1]
    if picks == 0:
        chosen = certain
    elif pruning != "systematic":
        u = uniform_integers(key, only_group, n)[0]
        chosen = certain | (u * total < (picks * weight) << UNIFORM_BITS)
    else:
        offset = (uniform_integers(key, only_group, 1)[0, 0] * total) >> UNIFORM_BITS
        passed = (picks * weight.cumsum(0) + offset) // total
        chosen = certain | (passed.diff(prepend=passed.new_zeros(1)) > 0)
    share = (picks * weight).double()
    factor = torch.where(certain, 1.0, torch.full_like(share, float(total)) / share).to(torch.float32)
    if pruning == "bernoulli_dense":
        return everything, torch.where(chosen, factor, 0.0)
    index = chosen.nonzero()[:, 0]
    return index, factor[index]


def step_size(lo: Tensor, hi: Tensor, bits: int) -> Tensor:
    """Δ of each group: ``(hi - lo) / (2**bits - 1)``, float32."""
    return divided(hi - lo, (1 << bits) - 1)


def _kept_ranges_fake(
    lo: Tensor, hi: Tensor, index: Tensor, factor: Tensor, bits: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del hi, factor, bits
    kept_lo, kept_hi, scale, offset = (lo.new_empty(index.shape[0]) for _ in range(4))
    return kept_lo, kept_hi, scale, offset


@operation(
    "kept_ranges(Tensor lo, Tensor hi, Tensor index, Tensor factor, int bits) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_kept_ranges_fake,
)
def kept_ranges(
    lo: Tensor, hi: Tensor, index: Tensor, factor: Tensor, bits: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ranges of the groups that were kept, and what their codes stand for: ``offset + scale · code``.

    Args:
        lo, hi: float32 (n,), the ranges of all groups.
        index, factor: int64 (k,) and float32 (k,), from :func:`select_groups`.
        bits: 1 to 8, of a code.

    Returns:
        float32 (k,): their lo and hi, ``scale = (hi - lo) / (2**bits - 1) · factor``, ``offset = lo · factor``.
    """
    check(lo.dim() == 1 and lo.shape == hi.shape, "lo and hi must be vectors of the same size")
    check(factor.shape == index.shape, "factor must have one entry per kept group")
    check(1 <= bits <= 8, f"bits must be 1 to 8, got {bits}")
    lo, hi = lo[index], hi[index]
    return lo, hi, step_size(lo, hi, bits) * factor, lo * factor
