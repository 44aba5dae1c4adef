"""Arguments for the operations on pixel rows: shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from fqt_core import ops
from tests.fqt_core.cases import Conv, convolutions


def some_rows(case: Conv, draw: st.DrawFn) -> Tensor:
    """Numbers of some pixel rows of a case's gradient, rising; perhaps none."""
    samples, _, height, width = case.output
    share = draw(st.sampled_from([0.0, 0.3, 0.7, 1.0]))
    return (torch.rand(samples * height * width, generator=case.generator()) < share).nonzero()[:, 0]


def _rows_and_beyond(case: Conv, draw: st.DrawFn) -> Tensor:
    """The same; perhaps numbers behind them that no row has."""
    index = some_rows(case, draw)
    samples, _, height, width = case.output
    return torch.cat([index, samples * height * width + torch.arange(draw(st.sampled_from([0, 0, 1, 70])))])


def _pack(x: Tensor) -> Tensor:
    words: Tensor = ops.OPERATIONS["pack_sign"].reference(x)
    return words


def _signs(count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, (count,), generator=generator) * 2.0 - 1.0


def _uniform(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    groups = torch.randint(0, 1000, (draw(st.integers(0, 5)),), generator=case.generator())
    key = (draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**32 - 1)), 3, draw(st.integers(0, 9)))
    return groups, draw(st.sampled_from([0, 1, 3, 4, 5, 1023, 1024, 1025, 3000])), *key


def _square_sums(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    g = case.gradient()
    return (g.flatten(1)[:, :40] if draw(st.booleans()) else g,)


def _gather(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    index = some_rows(case, draw)
    return case.gradient(), index, torch.rand(len(index), generator=case.generator()) + 1, draw(st.booleans())


def _dithered(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    values, generator = case.gradient().flatten(1), case.generator()
    narrow, levels = draw(st.sampled_from([1.0, 0.5, 0.0])), draw(st.sampled_from([1, 4]))
    groups, size = values.shape
    level = torch.randint(0, levels, (size,), generator=generator).to(torch.uint8)
    offset = torch.rand(groups, levels, generator=generator) - 0.5
    ranges = values.amin(1) * narrow, values.amax(1) * narrow
    return values, *ranges, _signs(size, generator), level, offset, draw(st.sampled_from([1, 2, 4, 8]))


def _codes(shape: tuple[int, ...], case: Conv) -> Tensor:
    return torch.randint(0, 256, shape, generator=case.generator(), dtype=torch.uint8)


def _input(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    index, generator = _rows_and_beyond(case, draw), case.generator()
    vectors: tuple[Tensor | None, ...] = (None,) * 4
    if draw(st.booleans()):
        vectors = (*(torch.randn(len(index), generator=generator) for _ in range(3)), _signs(case.outputs, generator))
    codes, bits = _codes((len(index), case.outputs), case), draw(st.integers(1, 8))
    size = (case.samples, case.channels, list(case.size))
    return codes, bits, index, *vectors, _pack(case.weight()), *size, *case.window


def _weight(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    index, rows = _rows_and_beyond(case, draw), draw(st.sampled_from([0, 1, 5, 70]))
    output = torch.randint(0, case.outputs, (rows,), generator=case.generator())
    codes, bits = _codes((rows, len(index)), case), draw(st.integers(1, 8))
    return _pack(case.x()), codes, bits, index, output, case.channels, case.outputs, list(case.kernel), *case.window


PIXEL_ARGUMENTS = {
    "uniform_numbers": _uniform,
    "pixel_square_sums": _square_sums,
    "pixel_gather": _gather,
    "quantize_dithered": _dithered,
    "pixel_input_gradient": _input,
    "pixel_weight_gradient": _weight,
}


@st.composite
def pixel_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``."""
    return PIXEL_ARGUMENTS[name](draw(convolutions()), draw)


LARGE = (
    Conv(9, 70, 100, (25, 26), (3, 3), (1, 1), (1, 1), (1, 1), 1, seed=4),
    Conv(2, 130, 1050, (3, 4), (3, 3), (1, 1), (1, 1), (1, 1), 1, seed=5),
)
"""More kept rows, and more output channels, than a kernel counts at once."""


def large_products(name: str) -> list[tuple[Any, ...]]:
    """Arguments of the products for :data:`LARGE`."""
    found = []
    for case in LARGE:
        samples, outputs, height, width = case.output
        generator = case.generator()
        index = torch.arange(samples * height * width)
        if name == "pixel_input_gradient":
            vectors = (*(torch.randn(len(index), generator=generator) for _ in range(3)), _signs(outputs, generator))
            size = (samples, case.channels, list(case.size))
            codes = _codes((len(index), outputs), case)
            found.append((codes, 2, index, *vectors, _pack(case.weight()), *size, *case.window))
        else:
            sizes = (case.channels, outputs, list(case.kernel))
            codes = _codes((outputs, len(index)), case)
            found.append((_pack(case.x()), codes, 8, index, torch.arange(outputs), *sizes, *case.window))
    return found
