"""Shapes and values that hurt, drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import torch
from hypothesis import strategies as st
from torch import Tensor

from fqt_core import ops
from fqt_core.verification.cases import values
from fqt_core.verification.cases.layer import Values
from fqt_core.verification.cases.values import activations


@dataclass(frozen=True)
class Conv:
    """A convolution's shape, and a seed for its values."""

    samples: int
    channels: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    seed: int

    @property
    def geometry(self) -> dict[str, Any]:
        """Keyword arguments of torch's own convolution."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def window(self) -> tuple[list[int], list[int], list[int], int]:
        """Positional arguments that end the signatures of the ops."""
        return list(self.stride), list(self.padding), list(self.dilation), self.groups

    @property
    def output(self) -> tuple[int, int, int, int]:
        """Shape of the output."""
        height, width = (
            (self.size[i] + 2 * self.padding[i] - self.dilation[i] * (self.kernel[i] - 1) - 1) // self.stride[i] + 1
            for i in range(2)
        )
        return self.samples, self.outputs, height, width

    def generator(self) -> torch.Generator:
        """A generator that starts from the case's seed."""
        return torch.Generator().manual_seed(self.seed)

    def x(self) -> Tensor:
        """Activations, with exact zeros and exact ones among them."""
        return activations((self.samples, self.channels, *self.size), self.generator())

    def weight(self) -> Tensor:
        """Latent weights, with exact zeros among them."""
        shape = (self.outputs, self.channels // self.groups, *self.kernel)
        w = torch.randn(shape, generator=self.generator().manual_seed(self.seed + 1))
        return torch.where(w.abs() < 0.1, 0.0, w)

    def gradient(self) -> Tensor:
        """dL/dY; see :func:`gradient`."""
        return gradient(self.output, self.seed)


@st.composite
def convolutions(draw: st.DrawFn, max_groups: int = 3) -> Conv:
    """Odd sizes, one sample, one channel, word borders, stride, dilation, padding, groups and depthwise."""
    groups = draw(st.integers(1, max_groups))
    pair = lambda values: st.tuples(values, values)  # noqa: E731
    kernel, dilation = draw(pair(st.integers(1, 3))), draw(pair(st.integers(1, 2)))
    padding = draw(pair(st.integers(0, 2)))
    least = [max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]) for i in range(2)]
    return Conv(
        samples=draw(st.sampled_from([1, 2, 3, 5])),
        channels=groups * draw(st.sampled_from([1, 2, 3, 31, 63, 64, 65])),
        outputs=groups * draw(st.sampled_from([1, 2, 3, 5, 17, 33])),
        size=(least[0] + draw(st.integers(0, 6)), least[1] + draw(st.integers(0, 6))),
        kernel=kernel,
        stride=draw(pair(st.integers(1, 3))),
        padding=padding,
        dilation=dilation,
        groups=groups,
        seed=draw(st.integers(0, 2**31)),
    )


def gradient(shape: tuple[int, ...], seed: int) -> Tensor:
    """A gradient of one of several kinds: plain, with ties, unequal groups, zero groups, subnormal, huge, constant."""
    kinds: tuple[Values, ...] = get_args(Values)
    return values.gradient(shape, kinds[seed % len(kinds)], torch.Generator().manual_seed(seed))


@st.composite
def native_arguments(draw: st.DrawFn, name: str) -> tuple[Any, ...]:
    """Arguments for the operation ``name``."""
    case = draw(convolutions())
    return ARGUMENTS[name](case, draw)


def _groups(case: Conv, draw: st.DrawFn) -> tuple[Tensor, int]:
    g = case.gradient()
    return (g.flatten(1)[:, :40] if draw(st.booleans()) else g), draw(st.integers(0, 1))


def _moments(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    g, dim = _groups(case, draw)
    return g, dim, *ops.OPERATIONS["group_range"].reference(g, dim)


def _some_groups(count: int, case: Conv, draw: st.DrawFn) -> Tensor:
    """Numbers of some groups, perhaps none, in any order."""
    return torch.randperm(count, generator=case.generator())[: draw(st.integers(0, count))]


def _select(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    g, dim = _groups(case, draw)
    lo, hi = ops.OPERATIONS["group_range"].reference(g, dim)
    pruning = draw(st.sampled_from(["none", "topk", "bernoulli", "bernoulli_dense", "systematic"]))
    return lo, hi, draw(st.integers(1, len(lo))), pruning, case.seed, draw(st.integers(0, 99)), 1, 1


def _quantize(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    g, dim = _groups(case, draw)
    index = _some_groups(g.shape[dim], case, draw)
    lo, hi = ops.OPERATIONS["group_range"].reference(g, dim)
    narrow = draw(st.sampled_from([1.0, 0.6]))
    key = (draw(st.integers(0, 2**63 - 1)), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 9)), 2)
    return g, dim, index, lo[index] * narrow, hi[index] * narrow, draw(st.sampled_from([1, 2, 4, 8])), *key


def _kept_ranges(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    g, dim = _groups(case, draw)
    lo, hi = ops.OPERATIONS["group_range"].reference(g, dim)
    index = _some_groups(len(lo), case, draw)
    factor = torch.rand(len(index), generator=case.generator()) * 9
    return lo, hi, index, factor, draw(st.integers(1, 8))


def _codes(shape: tuple[int, ...], case: Conv, draw: st.DrawFn) -> Tensor:
    most = draw(st.sampled_from([1, 3, 15, 255]))
    return torch.randint(0, most + 1, shape, generator=case.generator(), dtype=torch.uint8)


def _pack(x: Tensor) -> Tensor:
    words: Tensor = ops.OPERATIONS["pack_sign"].reference(x)
    return words


def _input_gradient(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    _, outputs, height, width = case.output
    codes = _codes((draw(st.integers(0, 3)), height, width, outputs), case, draw)
    return codes, _pack(case.weight()), case.channels, list(case.size), *case.window


def _weight_gradient(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    samples, outputs, height, width = case.output
    index = _some_groups(outputs, case, draw)
    codes = _codes((len(index), samples, height, width), case, draw)
    return _pack(case.x()), codes, index, case.channels, outputs, list(case.kernel), *case.window


def _linear(case: Conv, draw: st.DrawFn) -> tuple[Any, ...]:
    weight = torch.randn(case.outputs, case.channels, generator=case.generator())
    return _pack(case.x()[:, :, 0, 0]), _pack(weight), case.channels


ARGUMENTS = {
    "pack_sign": lambda case, draw: (case.x() if draw(st.booleans()) else case.x()[:, :, 0, 0],),
    "pack_sign_window": lambda case, draw: (case.x(),),
    "unpack_sign": lambda case, draw: (_pack(case.x()), case.channels),
    "apply_window": lambda case, draw: (
        torch.randn(case.samples, case.channels, *case.size, generator=case.generator()),
        _pack(case.x()),
    ),
    "binary_conv2d": lambda case, draw: (_pack(case.x()), _pack(case.weight()), case.channels, *case.window),
    "binary_linear": _linear,
    "group_range": _groups,
    "group_moments": _moments,
    "select_groups": _select,
    "kept_ranges": _kept_ranges,
    "quantize_groups": _quantize,
    "conv2d_input_gradient": _input_gradient,
    "conv2d_weight_gradient": _weight_gradient,
}
