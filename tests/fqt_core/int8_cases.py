"""Arguments for the products of bytes: shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.fqt_core.cases import Conv, convolutions


def _bytes(case: Conv, *shape: int) -> Tensor:
    """Noise with both ends of the range among it, or one end everywhere: where sums saturate or wrap, it shows."""
    values = torch.randint(-128, 128, shape, generator=case.generator(), dtype=torch.int8)
    return (values, torch.full_like(values, -128), torch.full_like(values, 127))[max(0, case.seed % 5 - 2)]


def _x(case: Conv) -> Tensor:
    return _bytes(case, case.samples, *case.size, case.channels)


def _weight(case: Conv) -> Tensor:
    return _bytes(case, case.outputs, *case.kernel, case.channels)


def _conv(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    return _x(case), _weight(case), draw(st.sampled_from([0, -128, 127])), *case.window[:3]


def _input(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    _, outputs, height, width = case.output
    codes = _bytes(case, draw(st.integers(0, 3)), height, width, outputs)
    return codes, _weight(case), list(case.size), *case.window[:3]


def _weight_gradient(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    del draw
    samples, outputs, height, width = case.output
    return _x(case), _bytes(case, outputs, samples, height, width), list(case.kernel), *case.window[:3]


INT8_ARGUMENTS = {
    "int8_conv2d": _conv,
    "int8_input_gradient": _input,
    "int8_weight_gradient": _weight_gradient,
}

_LARGE = (
    Conv(3, 80, 70, (19, 17), (3, 3), (1, 1), (1, 1), (1, 1), 1, 0),
    Conv(2, 130, 20, (12, 15), (3, 3), (2, 2), (1, 1), (1, 1), 1, 1),
    Conv(40, 5, 66, (9, 9), (1, 1), (1, 1), (0, 0), (1, 1), 1, 4),
)
"""Several panels of columns, blocks of rows and chunks of pixels."""


@st.composite
def int8_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``."""
    return INT8_ARGUMENTS[name](draw(convolutions(max_groups=1)), draw)


def large_byte_products(name: str) -> list[tuple[Any, ...]]:
    """Some that are too large for hypothesis."""
    found = {
        "int8_conv2d": lambda c: (_x(c), _weight(c), -128, *c.window[:3]),
        "int8_input_gradient": lambda c: (
            _bytes(c, c.samples, *c.output[2:], c.outputs),
            _weight(c),
            list(c.size),
            *c.window[:3],
        ),
        "int8_weight_gradient": lambda c: (
            _x(c),
            _bytes(c, c.outputs, c.samples, *c.output[2:]),
            list(c.kernel),
            *c.window[:3],
        ),
    }[name]
    return [found(case) for case in _LARGE]
