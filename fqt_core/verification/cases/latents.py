"""Latent weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.ops.geometry import words_for
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import chain_signs, codes_of, nbytes, some


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


def _adam_binary_all(layer: Layer) -> Iterator[Case]:
    """Two layers alike, the gradient of one of which is made."""
    x = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in layer.shares(layer.outputs):
        weights = [_latents(layer), _latents(layer)]
        states = [[torch.zeros_like(weight) for weight in weights] for _ in range(2)]
        codes = codes_of(*layer.output, kept, -(-layer.samples // 4) * 4, bits=bits)
        codes[..., layer.samples :] = 0
        factors = ([torch.randn(count)] for count in (kept, kept, layer.outputs))
        gradients, indexes = [x, torch.randn(kept, *weights[1].shape[1:])], [some(layer.outputs, kept)] * 2
        geometry = [number for pair in (layer.kernel_size, *layer.window) for number in pair]
        options = (1e-3, 0.9, 0.999, 1e-8, 1e-5, [1, 1], True)
        arguments = (weights, *states, gradients, indexes, [codes], *factors, geometry, *options)
        yield Case(f"{share}, {bits} bits", arguments, bytes=6 * nbytes(*weights) + nbytes(gradients, codes))


CASES: CaseTable = {
    "mean_magnitude": _mean_magnitude,
    "adam_binary_": _adam_binary,
    "adam_binary_all_": _adam_binary_all,
}
