"""Groups of a gradient: their ranges, which are kept, and their codes."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fqt_core import ops
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import KEY, gradient_of, nbytes, some

_GROUPS = {0: "samples", 1: "channels"}


def _group_range(layer: Layer) -> Iterator[Case]:
    g = gradient_of(layer)
    for dim, groups in _GROUPS.items():
        yield Case(groups, (g, dim), bytes=nbytes(g))


def _group_moments(layer: Layer) -> Iterator[Case]:
    g = gradient_of(layer)
    for dim, groups in _GROUPS.items():
        yield Case(groups, (g, dim, *ops.group_range(g, dim)), bytes=nbytes(g))


def _select_groups(layer: Layer) -> Iterator[Case]:
    lo, hi = ops.group_range(gradient_of(layer), 1)
    for pruning in ("topk", "bernoulli", "bernoulli_dense", "systematic"):
        yield Case(pruning, (lo, hi, layer.few_channels, pruning, *KEY), bytes=nbytes(lo, hi))


def _kept_ranges(layer: Layer) -> Iterator[Case]:
    hi, kept = torch.rand(layer.outputs) + 0.1, layer.few_channels
    yield Case("", (-hi, hi, some(layer.outputs, kept), torch.ones(kept), 4), bytes=36 * kept)


def _quantize_groups(layer: Layer) -> Iterator[Case]:
    g = gradient_of(layer)
    for dim, groups in _GROUPS.items():
        count = g.shape[dim]
        for share, kept, bits in layer.shares(count):
            index = some(count, kept)
            lo, hi = (found[index] for found in ops.group_range(g, dim))
            elements = g.numel() // count * kept
            yield Case(f"{groups}, {share}, {bits} bits", (g, dim, index, lo, hi, bits, *KEY), bytes=elements * 5)


CASES: CaseTable = {
    "group_range": _group_range,
    "group_moments": _group_moments,
    "select_groups": _select_groups,
    "kept_ranges": _kept_ranges,
    "quantize_groups": _quantize_groups,
}
