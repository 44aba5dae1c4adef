"""Pixel rows: half of them are kept, at two bits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import KEY, codes_of, gradient_of, nbytes, signs, some, weight_of


def _rows(layer: Layer) -> Tensor:
    """Numbers of the kept pixel rows."""
    count = layer.samples * layer.output[0] * layer.output[1]
    return some(count, -(-count // 2))


def _uniform_numbers(layer: Layer) -> Iterator[Case]:
    count = layer.samples * layer.output[0] * layer.output[1]
    yield Case("", (torch.zeros(1, dtype=torch.int64), count, *KEY), bytes=4 * count)


def _pixel_square_sums(layer: Layer) -> Iterator[Case]:
    g = gradient_of(layer)
    yield Case("", (g,), bytes=nbytes(g))


def _pixel_gather(layer: Layer) -> Iterator[Case]:
    g, index = gradient_of(layer), _rows(layer)
    for variant, by_row in (("rows of pixels", True), ("rows of channels", False)):
        yield Case(variant, (g, index, torch.ones(len(index)), by_row), bytes=8 * len(index) * layer.outputs)


def _quantize_dithered(layer: Layer) -> Iterator[Case]:
    values = torch.randn(len(_rows(layer)), layer.outputs)
    groups, size = values.shape
    ranges = values.amin(1), values.amax(1)
    dither = torch.ones(size), torch.zeros(size, dtype=torch.uint8), torch.rand(groups, 1) - 0.5
    yield Case("", (values, *ranges, *dither, 2), bytes=5 * values.numel())


def _pixel_input_gradient(layer: Layer) -> Iterator[Case]:
    index = _rows(layer)
    codes = codes_of(len(index), layer.outputs, bits=2)
    vectors = (*(torch.rand(len(index)) for _ in range(3)), torch.ones(layer.outputs))
    sizes = (layer.samples, layer.channels, [layer.height, layer.width])
    macs = layer.macs(layer.samples, layer.outputs) // 2
    for variant, outside in (("scale per row", vectors), ("no scale", (None,) * 4)):
        yield Case(
            variant, (codes, 2, index, *outside, weight_of(layer), *sizes, *layer.window, layer.groups), macs=macs
        )


def _pixel_weight_gradient(layer: Layer) -> Iterator[Case]:
    x, index = signs(layer.samples, layer.channels, layer.height, layer.width), _rows(layer)
    codes = codes_of(layer.outputs, len(index), bits=2)
    sizes = (layer.channels, layer.outputs, layer.kernel_size)
    arguments = (x, codes, 2, index, torch.arange(layer.outputs), *sizes, *layer.window, layer.groups)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs) // 2)


CASES: CaseTable = {
    "uniform_numbers": _uniform_numbers,
    "pixel_square_sums": _pixel_square_sums,
    "pixel_gather": _pixel_gather,
    "quantize_dithered": _quantize_dithered,
    "pixel_input_gradient": _pixel_input_gradient,
    "pixel_weight_gradient": _pixel_weight_gradient,
}
