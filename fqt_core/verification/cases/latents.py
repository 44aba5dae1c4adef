"""Latent weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.ops.geometry import words_for
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import nbytes, some


def _latents(layer: Layer) -> Tensor:
    """A weight as rows (D, T, C)."""
    return torch.randn(layer.outputs, layer.kernel**2, layer.channels).clamp_(-1, 1)


def _mean_magnitude(layer: Layer) -> Iterator[Case]:
    weight = _latents(layer)
    yield Case("", (weight,), bytes=nbytes(weight))


def _adam_binary(layer: Layer) -> Iterator[Case]:
    weight = _latents(layer)
    for share, kept, _ in layer.shares(layer.outputs):
        state = torch.zeros_like(weight), torch.zeros_like(weight)
        gradient = torch.randn(kept, *weight.shape[1:])
        options = (1e-3, 0.9, 0.999, 1e-8, 1e-5, 1, True)
        words = weight.numel() // layer.channels * words_for(layer.channels) * 8
        arguments = (weight.clone(), *state, gradient, some(layer.outputs, kept), *options)
        yield Case(share, arguments, bytes=6 * nbytes(weight) + nbytes(gradient) + words)


CASES: CaseTable = {
    "mean_magnitude": _mean_magnitude,
    "adam_binary_": _adam_binary,
}
