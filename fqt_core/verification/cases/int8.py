"""Products of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fqt_core.verification.cases.layer import Case, CaseTable, Layer


def _some_bytes(*shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, dtype=torch.int8)


def _pixels_of_bytes(layer: Layer) -> Tensor:
    return _some_bytes(layer.samples, layer.height, layer.width, layer.channels)


def _weight_of_bytes(layer: Layer) -> Tensor:
    return _some_bytes(layer.outputs, *layer.kernel_size, layer.channels)


def _int8_conv2d(layer: Layer) -> Iterator[Case]:
    arguments = (_pixels_of_bytes(layer), _weight_of_bytes(layer), 0, *layer.window)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs), bits=8)


def _int8_input_gradient(layer: Layer) -> Iterator[Case]:
    codes = _some_bytes(layer.samples, *layer.output, layer.outputs)
    arguments = (codes, _weight_of_bytes(layer), [layer.height, layer.width], *layer.window)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs), bits=8)


def _int8_weight_gradient(layer: Layer) -> Iterator[Case]:
    codes = _some_bytes(layer.outputs, layer.samples, *layer.output)
    arguments = (_pixels_of_bytes(layer), codes, layer.kernel_size, *layer.window)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs), bits=8)


CASES: CaseTable = {
    "int8_conv2d": _int8_conv2d,
    "int8_input_gradient": _int8_input_gradient,
    "int8_weight_gradient": _int8_weight_gradient,
}
