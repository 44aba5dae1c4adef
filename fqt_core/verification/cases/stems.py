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


CASES: CaseTable = {
    "stem_enter": _stem_enter,
    "stem_moments": _stem_moments,
    "stem_products": _stem_products,
}
