"""Tensors of cases; from torch's default generator, where none is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.ops.geometry import words_for
from fqt_core.verification.cases.layer import Layer, Values
from fqt_core.verification.comparison import tensors_in

KEY = (7, 1, 0, 2)
"""Seed, step, layer and purpose of random numbers."""


def signs(*shape: int) -> Tensor:
    """Sign words of noise (N, C, H, W) as (N, H, W, ceil(C / 64))."""
    return ops.pack_sign(torch.randn(shape))


def chain_signs(samples: int, channels: int, height: int, width: int) -> Tensor:
    """The same as (H, W, N, ceil(C / 64))."""
    return signs(samples, channels, height, width).permute(1, 2, 0, 3).contiguous()


def weight_of(layer: Layer) -> Tensor:
    """Sign words of a weight, (D, *kernel, words of a group's channels)."""
    return signs(layer.outputs, layer.channels // layer.groups, *layer.kernel_size)


def some(count: int, kept: int) -> Tensor:
    """``kept`` of ``count`` numbers, evenly spread and rising."""
    return torch.arange(kept) * count // max(1, kept)


def codes_of(*shape: int, bits: int) -> Tensor:
    """Codes of a gradient, uint8."""
    return torch.randint(0, 1 << bits, shape, dtype=torch.uint8)


def nbytes(*values: Any) -> int:
    """Bytes of all that are tensors, or in lists of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(values))


def images(layer: Layer) -> Tensor:
    """A layer's input, float32 (N, C, H, W)."""
    return activations((layer.samples, layer.channels, layer.height, layer.width))


def activations(shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Noise with exact zeros and exact ones among it."""
    x = torch.randn(shape, generator=generator)
    return torch.where(x.abs() < 0.1, 0.0, torch.where(x.abs() > 1.5, x.sign(), x))


def word_bytes(x: Tensor) -> int:
    """Bytes of the words for float32 (N, C, *)."""
    return x.numel() // x.shape[1] * words_for(x.shape[1]) * 8


def gradient_of(layer: Layer) -> Tensor:
    """A gradient of a layer's output, float32 (N, D, H, W)."""
    return gradient((layer.samples, layer.outputs, *layer.output), layer.values)


def gradient(shape: tuple[int, ...], values: Values, generator: torch.Generator | None = None) -> Tensor:
    """A gradient (N, D, *) of some kind."""
    if values == "constant":
        return torch.full(shape, 0.25)
    g = torch.randn(shape, generator=generator)
    if values == "ties":
        return g.round()
    if values == "unequal":
        return g * torch.logspace(-6, 0, shape[0]).view(-1, *[1] * (len(shape) - 1))
    if values == "zeros":
        g[shape[0] // 2 :] = 0
        g[:, shape[1] // 2 :] = 0
        return g
    return g * {"noise": 1.0, "subnormal": 1e-40, "huge": 1e30}[values]


def integers(layer: Layer, height: int, width: int) -> Tensor:
    """Sums of a chain, int16 (H, W, N, D)."""
    return torch.randint(-40, 41, (height, width, layer.samples, layer.outputs), dtype=torch.int16)


def channel_vector(layer: Layer) -> Tensor:
    """A vector with a number for each output channel, none near 0."""
    return torch.rand(layer.outputs) * 0.02 + 0.01
