"""Fused chains, layout (H, W, N, C): forward, and the products of the backward pass."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from fqt_core.ops.geometry import words_for
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import (
    chain_signs,
    channel_vector,
    codes_of,
    integers,
    nbytes,
    signs,
    some,
    weight_of,
)


def _hwnc_binary_conv2d(layer: Layer) -> Iterator[Case]:
    x = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    yield Case("", (x, weight_of(layer), layer.channels, *layer.window), macs=layer.macs(layer.samples, layer.outputs))


def _hwnc_max_pool2d(layer: Layer) -> Iterator[Case]:
    y = integers(layer, *layer.output)
    flip = torch.randint(0, 2, (layer.outputs,), dtype=torch.uint8)
    yield Case("", (y, flip), bytes=nbytes(y) + y.numel() // 4 * 3)


def _hwnc_affine_sign(layer: Layer) -> Iterator[Case]:
    y = integers(layer, *layer.output)
    residual = torch.randn(y.shape)
    vectors = channel_vector(layer), channel_vector(layer)
    words = 2 * y.numel() // layer.outputs * words_for(layer.outputs) * 8
    yield Case("", (y, *vectors, None, False), bytes=nbytes(y) + words)
    yield Case("residual", (y, *vectors, residual, False), bytes=nbytes(y) + words + 2 * nbytes(residual))


def _hwnc_block_forward(layer: Layer) -> Iterator[Case]:
    x = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    for name, pixels in (("", 1), ("pool", 2)):
        height, width = (size // pixels for size in layer.output)
        if layer.samples * height * width < 2:  # no variance
            continue
        running, scale = torch.ones(2, layer.outputs), torch.ones(layer.outputs)
        norm = *running, torch.tensor(0), channel_vector(layer), channel_vector(layer), scale, None, 0.1, 1e-5
        arguments = (x, weight_of(layer), layer.channels, *layer.window, pixels == 2, *norm, None, False)
        yield Case(name, arguments, macs=layer.macs(layer.samples, layer.outputs))


def _hwnc_chain_forward(layer: Layer) -> Iterator[Case]:
    """The layer's block, and after it one of 1x1 taps on its output."""
    x = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    running = ([value, value] for value in torch.ones(2, layer.outputs))
    vectors = ([channel_vector(layer), channel_vector(layer)] for _ in range(3))
    weights = [weight_of(layer), signs(layer.outputs, layer.outputs, 1, 1)]
    pixels = [*(number for pair in layer.window for number in pair), 1, 1, 0, 0, 1, 1]
    products = weights, [layer.channels, layer.outputs], pixels, [False, False]
    arguments = (x, *products, *running, *vectors, [None, None], [0.1, 0.1], [1e-5, 1e-5], False)
    places = layer.samples * layer.output[0] * layer.output[1]
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs) + places * layer.outputs**2)


def _hwnc_normalization(layer: Layer) -> Iterator[Case]:
    rows, ones = layer.samples * layer.output[0] * layer.output[1], torch.ones(layer.outputs)
    first, second = (torch.full((layer.outputs,), value, dtype=torch.int64) for value in (rows, 3 * rows))
    arguments = (ones.clone(), ones.clone(), ones, ones, ones, None, None, first, second, rows, 0.1, 1e-5)
    yield Case("", arguments, bytes=layer.outputs * 88)


def _hwnc_normalization_gradient(layer: Layer) -> Iterator[Case]:
    total, moment = torch.randn(2, layer.outputs, dtype=torch.float64)
    arguments = (total, moment, torch.ones(4, layer.outputs, dtype=torch.float64), layer.samples, True)
    yield Case("", arguments, bytes=layer.outputs * 72)


def _hwnc_input_gradient(layer: Layer) -> Iterator[Case]:
    weight = weight_of(layer)
    window = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in layer.shares(layer.samples):
        codes = codes_of(*layer.output, kept, layer.outputs, bits=bits)
        affine = torch.randn(kept), torch.randn(kept)
        sizes = (layer.channels, [layer.height, layer.width])
        arguments = (codes, weight, *sizes, *layer.window, *affine, window, some(layer.samples, kept))
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(kept, layer.outputs), bits=bits)


def _hwnc_weight_gradient(layer: Layer) -> Iterator[Case]:
    x = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in layer.shares(layer.outputs):
        codes = codes_of(*layer.output, kept, -(-layer.samples // 4) * 4, bits=bits)
        codes[..., layer.samples :] = 0
        affine = torch.randn(kept), torch.randn(kept)
        arguments = (x, codes, layer.channels, layer.kernel_size, *layer.window, *affine)
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(layer.samples, kept), bits=bits)


def _hwnc_add_rows(layer: Layer) -> Iterator[Case]:
    target = torch.randn(layer.height, layer.width, layer.samples, layer.channels)
    rows = torch.randn(layer.height, layer.width, layer.few_samples, layer.channels)
    yield Case("", (target, rows, some(layer.samples, layer.few_samples)), bytes=3 * nbytes(rows))


CASES: CaseTable = {
    "hwnc_binary_conv2d": _hwnc_binary_conv2d,
    "hwnc_max_pool2d": _hwnc_max_pool2d,
    "hwnc_affine_sign": _hwnc_affine_sign,
    "hwnc_block_forward": _hwnc_block_forward,
    "hwnc_chain_forward": _hwnc_chain_forward,
    "hwnc_normalization": _hwnc_normalization,
    "hwnc_normalization_gradient": _hwnc_normalization_gradient,
    "hwnc_input_gradient": _hwnc_input_gradient,
    "hwnc_weight_gradient": _hwnc_weight_gradient,
    "hwnc_add_rows": _hwnc_add_rows,
}
