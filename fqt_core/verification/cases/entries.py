"""Where fused chains begin: floats in layout (N, H, W, C)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.ops.geometry import words_for
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import images, nbytes, some


def _pixels(layer: Layer) -> Tensor:
    """Floats where a chain begins, (N, H, W, C)."""
    return images(layer).permute(0, 2, 3, 1).contiguous()


def _input_channel(layer: Layer) -> Tensor:
    return torch.rand(layer.channels) * 0.02 + 0.01


def _hwnc_entry_moments(layer: Layer) -> Iterator[Case]:
    x = _pixels(layer)
    yield Case("", (x,), bytes=nbytes(x))


def _hwnc_enter(layer: Layer) -> Iterator[Case]:
    x, rows = _pixels(layer), (layer.height, layer.width, layer.samples)
    words = torch.zeros((2, *rows, words_for(layer.channels)), dtype=torch.int64)
    for variant, h in (("", None), ("floats kept", torch.zeros(*rows, layer.channels))):
        arguments = (x, _input_channel(layer), _input_channel(layer), *words, h, 0)
        yield Case(variant, arguments, bytes=nbytes(x) + (0 if h is None else nbytes(h)) + nbytes(words))


def _entry_gradient(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.randn(layer.height, layer.width, layer.few_samples, layer.channels)
    return g, some(layer.samples, layer.few_samples), _pixels(layer)


def _hwnc_entry_sums(layer: Layer) -> Iterator[Case]:
    g, index, x = _entry_gradient(layer)
    yield Case("", (g, index, x, _input_channel(layer)), bytes=2 * nbytes(g))


def _hwnc_leave(layer: Layer) -> Iterator[Case]:
    g, index, x = _entry_gradient(layer)
    vectors = tuple(_input_channel(layer) for _ in range(3))
    yield Case("", (g, index, x, *vectors), bytes=nbytes(g) + 2 * nbytes(x))


CASES: CaseTable = {
    "hwnc_entry_moments": _hwnc_entry_moments,
    "hwnc_enter": _hwnc_enter,
    "hwnc_entry_sums": _hwnc_entry_sums,
    "hwnc_leave": _hwnc_leave,
}
