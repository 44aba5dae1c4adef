"""The full-precision convolution before a chain."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.ops.geometry import words_for
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import activations, channel_vector, gradient_of, nbytes, some

_IMAGE_CHANNELS = 3


def _images(layer: Layer) -> Tensor:
    """float32 (N, 3, H, W): what stands before a chain has few channels."""
    return activations((layer.samples, _IMAGE_CHANNELS, layer.height, layer.width)) + 1


def _stem_moments(layer: Layer) -> Iterator[Case]:
    images = _images(layer)
    arguments = (images, torch.rand(_IMAGE_CHANNELS), layer.kernel_size, *layer.window)
    yield Case("", arguments, bytes=nbytes(images))


def _stem_products(layer: Layer) -> Iterator[Case]:
    images, g = _images(layer), gradient_of(layer).permute(2, 3, 0, 1)
    for variant, kept in (("a quarter", layer.few_samples), ("all", layer.samples)):
        index = some(layer.samples, kept)
        rows = g[:, :, index].contiguous()
        arguments = (images, torch.rand(_IMAGE_CHANNELS), rows, index, layer.kernel_size, *layer.window)
        yield Case(variant, arguments, bytes=nbytes(images[index], rows))


def _stem_enter(layer: Layer) -> Iterator[Case]:
    images, weight = _images(layer), torch.randn(layer.outputs, _IMAGE_CHANNELS, *layer.kernel_size)
    rows = (*layer.output, layer.samples)
    words = torch.zeros((2, *rows, words_for(layer.outputs)), dtype=torch.int64)
    for variant, bias, h in (
        ("", channel_vector(layer), None),
        ("floats kept, no bias", None, torch.zeros(*rows, layer.outputs)),
    ):
        arguments = (images, weight, bias, channel_vector(layer), -channel_vector(layer), *words, h, *layer.window)
        yield Case(variant, arguments, bytes=nbytes(images, words, h))


def _moments_of(inputs: int) -> Tensor:
    """float64 (inputs, inputs): Σ u uᵀ of rows u that end in a 1."""
    rows = torch.randn(2 * inputs, inputs, dtype=torch.float64)
    rows[:, -1] = 1
    return rows.t() @ rows


def _stem_normalization(layer: Layer) -> Iterator[Case]:
    weight, origin = torch.randn(layer.outputs, _IMAGE_CHANNELS, *layer.kernel_size), torch.rand(_IMAGE_CHANNELS)
    moments = _moments_of(weight[0].numel() + 1)
    norm = *torch.ones(2, layer.outputs), torch.tensor(0), channel_vector(layer), channel_vector(layer)
    for variant, bias, momentum in (("", channel_vector(layer), 0.1), ("mean of all batches, no bias", None, None)):
        arguments = (weight, bias, origin, moments, 2 * len(moments), *norm, momentum, 1e-5)
        yield Case(variant, arguments, bytes=nbytes(weight, moments) + 16 * layer.outputs * len(moments))


def _stem_gradient(layer: Layer) -> Iterator[Case]:
    origin, constants = torch.rand(_IMAGE_CHANNELS), torch.rand(4, layer.outputs, dtype=torch.float64)
    moments = _moments_of(_IMAGE_CHANNELS * layer.kernel**2 + 1)
    of_inputs = torch.randn(3, layer.outputs, len(moments), dtype=torch.float64)
    for variant, batch in (("", True), ("running statistics", False)):
        vectors = constants[3].float(), constants, origin
        arguments = (*of_inputs, moments, *vectors, layer.kernel_size, 2 * len(moments), batch)
        yield Case(variant, arguments, bytes=nbytes(of_inputs) + 4 * layer.outputs * len(moments))


CASES: CaseTable = {
    "stem_enter": _stem_enter,
    "stem_moments": _stem_moments,
    "stem_products": _stem_products,
    "stem_normalization": _stem_normalization,
    "stem_gradient": _stem_gradient,
}
