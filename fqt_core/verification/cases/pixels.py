"""Pixel rows: half of them are kept, at two bits."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import KEY, codes_of, gradient_of, nbytes, signs, some, weight_of


def _rows(layer: Layer) -> Tensor:
    """Numbers of the kept pixel rows."""
    return some(_count(layer), -(-_count(layer) // 2))


def _count(layer: Layer) -> int:
    return layer.samples * layer.output[0] * layer.output[1]


def _padded(layer: Layer) -> Tensor:
    """The same, and a number behind them for each other row: how a GPU keeps as many as it alone knows."""
    rows = _rows(layer)
    return torch.cat([rows, _count(layer) + torch.arange(_count(layer) - len(rows))])


def _uniform_numbers(layer: Layer) -> Iterator[Case]:
    count = _count(layer)
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
    weight, sizes = weight_of(layer), (layer.samples, layer.channels, [layer.height, layer.width])
    macs = layer.macs(layer.samples, layer.outputs) // 2
    for variant, index, scaled in (
        ("scale per row", _rows(layer), True),
        ("no scale", _rows(layer), False),
        ("padded", _padded(layer), True),
    ):
        codes = codes_of(len(index), layer.outputs, bits=2)
        vectors = (*(torch.rand(len(index)) for _ in range(3)), torch.ones(layer.outputs))
        outside = vectors if scaled else (None,) * 4
        yield Case(variant, (codes, 2, index, *outside, weight, *sizes, *layer.window, layer.groups), macs=macs)


def _pixel_weight_gradient(layer: Layer) -> Iterator[Case]:
    x = signs(layer.samples, layer.channels, layer.height, layer.width)
    sizes = (layer.channels, layer.outputs, layer.kernel_size)
    for variant, index in (("", _rows(layer)), ("padded", _padded(layer))):
        codes = codes_of(layer.outputs, len(index), bits=2)
        arguments = (x, codes, 2, index, torch.arange(layer.outputs), *sizes, *layer.window, layer.groups)
        yield Case(variant, arguments, macs=layer.macs(layer.samples, layer.outputs) // 2)


CASES: CaseTable = {
    "uniform_numbers": _uniform_numbers,
    "pixel_square_sums": _pixel_square_sums,
    "pixel_gather": _pixel_gather,
    "quantize_dithered": _quantize_dithered,
    "pixel_input_gradient": _pixel_input_gradient,
    "pixel_weight_gradient": _pixel_weight_gradient,
}
