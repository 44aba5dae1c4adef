"""Arguments for the operations of the convolution before a chain: shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from fqt_core.ops import OPERATIONS
from fqt_core.ops.geometry import words_for
from tests.fqt_core.cases import Conv, convolutions, gradient
from tests.fqt_core.hwnc_cases import some_rising


def _geometry(case: Conv) -> tuple[list[int], ...]:
    return [*case.kernel], [*case.stride], [*case.padding], [*case.dilation]


def _images(case: Conv) -> tuple[Tensor, Tensor]:
    """Float32 (N, C, H, W), far from zero, and an origin."""
    return case.x() + 3, torch.randn(case.channels, generator=case.generator()) + 2


def _moments(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    del draw
    return *_images(case), *_geometry(case)


def _some_products(case: Conv, index: Tensor) -> tuple[Any, ...]:
    _, outputs, height, width = case.output
    kind = case.seed if case.seed % 7 != 5 else 0
    g = gradient((height, width, max(1, len(index)), outputs), kind)[:, :, : len(index)].contiguous()
    return *_images(case), g, index, *_geometry(case)


def _products(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    return _some_products(case, some_rising(case.samples, draw, case.generator()))


def _enter(case: Conv, *, bias: bool, floats: bool) -> tuple[Any, ...]:
    generator = case.generator()
    samples, outputs, height, width = case.output
    start, a, b = torch.randn(3, outputs, generator=generator)
    words = torch.full((2, height, width, samples, words_for(outputs)), -1)
    h = torch.full((height, width, samples, outputs), -1.0) if floats else None
    _, stride, padding, dilation = _geometry(case)
    return case.x(), case.weight(), start if bias else None, a, b, *words, h, stride, padding, dilation


def _second_moments(case: Conv, *, of_rows: bool) -> tuple[Tensor, int]:
    """M, float64 (K + 1, K + 1), and of how many rows; or any matrix, whose rows are not its columns."""
    rows, inputs = case.samples + 2, case.channels * case.kernel[0] * case.kernel[1] + 1
    u = torch.randn(max(rows, inputs), inputs, generator=case.generator(), dtype=torch.float64) + 1
    u[:, -1] = 1
    return (u[:rows].t() @ u[:rows] if of_rows else u[:inputs].contiguous()), rows


def _normalization(
    case: Conv, *, bias: bool, momentum: float | None = None, batches: int = 0, of_rows: bool = True
) -> tuple[Any, ...]:
    moments, rows = _second_moments(case, of_rows=of_rows)
    start, gamma, beta, mean = torch.randn(4, case.outputs, generator=case.generator())
    origin = torch.randn(case.channels, generator=case.generator()) + 2
    norm = mean, mean.abs(), torch.tensor(batches), gamma, beta, momentum, 1e-5
    return case.weight(), start if bias else None, origin, moments, rows, *norm


def _of_any_kernel(case: Conv, draw: st.DrawFn) -> Conv:
    """What is of moments knows nothing of the images' size, so the kernel may be larger."""
    return replace(case, kernel=draw(st.sampled_from([case.kernel, (5, 5), (1, 7)])))


def _some_normalization(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    return _normalization(
        _of_any_kernel(case, draw),
        bias=draw(st.booleans()),
        momentum=draw(st.sampled_from([0.1, 1.0, 0.0, None])),
        batches=draw(st.integers(0, 9)),
        of_rows=draw(st.booleans()),
    )


def _gradient(case: Conv, *, batch: bool, scale: float = 1.0, infinite: bool = False) -> tuple[Any, ...]:
    arguments = _normalization(case, bias=True)
    _, _, center, constants, augmented, cross = OPERATIONS["stem_normalization"].reference(*arguments)
    products = scale * torch.randn(cross.shape, generator=case.generator(), dtype=torch.float64)
    if infinite:
        products[case.seed % case.outputs, case.seed % products.shape[1]] = torch.inf
    _, _, origin, moments, rows = arguments[:5]
    return products, augmented, cross, moments, center, constants, origin, [*case.kernel], rows, batch


def _some_gradient(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    scale, infinite = draw(st.sampled_from([1.0, 1e-40, 1e30, 0.0])), draw(st.sampled_from([False, False, True]))
    case = _of_any_kernel(case, draw)
    return _gradient(case, batch=draw(st.booleans()), scale=scale, infinite=infinite)


STEM_ARGUMENTS = {
    "stem_enter": lambda case, draw: _enter(case, bias=draw(st.booleans()), floats=draw(st.booleans())),
    "stem_moments": _moments,
    "stem_products": _products,
    "stem_normalization": _some_normalization,
    "stem_gradient": _some_gradient,
}


@st.composite
def stem_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``: few input channels, as images have."""
    case = draw(convolutions(max_groups=1))
    changes = {
        "channels": draw(st.sampled_from([1, 1, 2, 3, 3, 4, 7])),
        "samples": draw(st.sampled_from([1, 2, 3, 9, 17])),
        "outputs": draw(st.sampled_from([1, 2, 5, 16, 33, 64, 65, 130])),
    }
    return STEM_ARGUMENTS[name](Conv(**(vars(case) | changes)), draw)


_LARGE = (
    Conv(35, 3, 40, (40, 33), (3, 3), (1, 1), (1, 1), (1, 1), 1, 0),
    Conv(3, 2, 66, (75, 66), (7, 5), (2, 1), (3, 2), (1, 2), 1, 1),
    Conv(20, 70, 3, (3, 4), (3, 3), (1, 1), (1, 1), (1, 1), 1, 2),
)
"""Several sums of pixels in float32, and more samples than kernels keep sums of, of many inputs."""


def large_stems(name: str) -> list[tuple[Any, ...]]:
    """Some that are too large for hypothesis."""
    found: dict[str, Callable[[Conv], tuple[Any, ...]]] = {
        "stem_enter": lambda case: _enter(case, bias=case.seed > 0, floats=True),
        "stem_moments": lambda case: (*_images(case), *_geometry(case)),
        "stem_products": lambda case: _some_products(case, torch.arange(0, case.samples, 2)),
        "stem_normalization": lambda case: _normalization(case, bias=case.seed > 0),
        "stem_gradient": lambda case: _gradient(case, batch=case.seed > 0),
    }
    return [found[name](case) for case in _LARGE]
