"""The products against float64 convolutions of ±1 tensors, for the reference and whatever serves this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fqt_core import ops
from tests.fqt_core.cases import Conv, convolutions


def _both(name: str) -> list[Callable[..., Any]]:
    return [getattr(torch.ops.fqt, name).default, ops.OPERATIONS[name].reference]


def _signs(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x < 0, -1.0, 1.0).double()


@given(convolutions())
@settings(max_examples=50)
def test_convolution_with_exact_padding(case: Conv) -> None:
    x, w = case.x(), case.weight()
    expected = functional.conv2d(_signs(x), _signs(w), **case.geometry)
    for product in _both("binary_conv2d"):
        y = product(ops.pack_sign(x), ops.pack_sign(w), case.channels, *case.window)
        assert y.dtype == torch.int32
        assert torch.equal(y.double(), expected)


@pytest.mark.parametrize("channels", [1, 2, 63, 64, 65])
def test_depthwise(channels: int) -> None:
    case = Conv(2, channels, channels, (5, 4), (3, 3), (1, 2), (1, 1), (1, 1), channels, seed=3)
    x, w = case.x(), case.weight()
    expected = functional.conv2d(_signs(x), _signs(w), **case.geometry)
    for product in _both("binary_conv2d"):
        assert torch.equal(product(ops.pack_sign(x), ops.pack_sign(w), channels, *case.window).double(), expected)


def test_a_pixel_of_padding_alone_is_zero() -> None:
    y = ops.binary_conv2d(
        ops.pack_sign(torch.ones(1, 3, 1, 1)), ops.pack_sign(torch.ones(2, 3, 1, 1)), 3, [1, 1], [2, 2], [1, 1], 1
    )
    assert y[0, 0].tolist() == [[0] * 5, [0] * 5, [0, 0, 3, 0, 0], [0] * 5, [0] * 5]


@given(
    n=st.sampled_from([1, 2, 7]), c=st.sampled_from([1, 63, 64, 65, 200]), d=st.integers(1, 20), seed=st.integers(0, 99)
)
@settings(max_examples=25)
def test_linear(n: int, c: int, d: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, w = torch.randn(n, c, generator=generator), torch.randn(d, c, generator=generator)
    for product in _both("binary_linear"):
        y = product(ops.pack_sign(x), ops.pack_sign(w), c)
        assert torch.equal(y.double(), _signs(x) @ _signs(w).T)


@given(convolutions(), st.sampled_from([1, 15, 255]))
@settings(max_examples=50)
def test_both_gradients_are_those_of_autograd(case: Conv, most: int) -> None:
    x, w = _signs(case.x()).requires_grad_(), _signs(case.weight()).requires_grad_()
    y = functional.conv2d(x, w, **case.geometry)
    codes = torch.randint(0, most + 1, y.shape, generator=case.generator(), dtype=torch.uint8)
    y.backward(codes.double())
    assert x.grad is not None
    assert w.grad is not None
    xs, ws = ops.pack_sign(case.x()), ops.pack_sign(case.weight())
    kept = torch.randperm(case.samples, generator=case.generator())[:2]
    for product in _both("conv2d_input_gradient"):
        dx = product(codes[kept].permute(0, 2, 3, 1).contiguous(), ws, case.channels, list(case.size), *case.window)
        assert torch.equal(dx.double(), x.grad[kept])
    index = torch.randperm(case.outputs, generator=case.generator())[:4]
    for product in _both("conv2d_weight_gradient"):
        rows = codes[:, index].transpose(0, 1).contiguous()
        dw = product(xs, rows, index, case.channels, case.outputs, list(case.kernel), *case.window)
        assert torch.equal(dw.double(), w.grad[index])


def test_sums_beyond_float32_are_exact() -> None:
    # 255 * 2 * 190 * 190 = 18 million: odd sums above 2**24 do not exist in float32.
    x = torch.ones(2, 1, 190, 190)
    codes = torch.full((1, 2, 190, 190), 255, dtype=torch.uint8)
    codes[0, 0, 0, 0] = 254
    for product in _both("conv2d_weight_gradient"):
        dw = product(ops.pack_sign(x), codes, torch.tensor([0]), 1, 1, [1, 1], [1, 1], [0, 0], [1, 1], 1)
        assert int(dw) == 255 * 2 * 190 * 190 - 1


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("samples", range(2, 10))
def test_bytes_of_one_channel_where_the_output_is_one_pixel_wide(samples: int, outputs: int) -> None:
    """Where PyTorch's own convolution in float32 gives wrong sums if that channel is said to lie innermost."""
    generator = torch.Generator().manual_seed(samples)
    x = torch.randint(-128, 128, (samples, 3, 4, 1), generator=generator, dtype=torch.int8)
    weight = torch.randint(-128, 128, (outputs, 1, 2, 1), generator=generator, dtype=torch.int8)
    expected = sum(x[:, :, i : i + 1].int() * weight[:, 0, i, 0].int() for i in range(2))
    for product in _both("int8_conv2d"):
        assert torch.equal(product(x, weight, 0, [1, 3], [0, 0], [1, 1]), expected)


WRONG = [
    ("binary_conv2d", {"stride": [0, 1]}, "stride"),
    ("binary_conv2d", {"padding": [-1, 0]}, "padding"),
    ("binary_conv2d", {"groups": 2}, "groups=2"),
    ("binary_conv2d", {"channels": 99}, "words"),
    ("binary_conv2d", {"x": torch.zeros(1, 4, 4, 1)}, "int64"),
    ("binary_conv2d", {"weight": torch.zeros(2, 9, 9, 1, dtype=torch.int64)}, "does not fit"),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG)
def test_wrong_arguments_are_named(name: str, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "x": torch.zeros(1, 4, 4, 1, dtype=torch.int64),
        "weight": torch.zeros(2, 3, 3, 1, dtype=torch.int64),
        "channels": 3,
        "stride": [1, 1],
        "padding": [1, 1],
        "dilation": [1, 1],
        "groups": 1,
    }
    for product in _both(name):
        with pytest.raises((ValueError, RuntimeError), match=message):
            product(*(arguments | change).values())


def test_wrong_codes_and_indices_are_named() -> None:
    words = torch.zeros(2, 4, 4, 1, dtype=torch.int64)
    tail = ([1, 1], [0, 0], [1, 1], 1)
    weight = torch.zeros(3, 1, 1, 1, dtype=torch.int64)
    for product in _both("conv2d_weight_gradient"):
        codes = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
        for wrong in (-1, 3):
            with pytest.raises((ValueError, RuntimeError), match="index must be at least 0 and below 3"):
                product(words, codes, torch.tensor([wrong]), 5, 3, [1, 1], *tail)
        with pytest.raises((ValueError, RuntimeError), match="codes"):
            product(words, codes[..., :3], torch.tensor([0]), 5, 3, [1, 1], *tail)
    for product in _both("conv2d_input_gradient"):
        with pytest.raises((ValueError, RuntimeError), match="codes"):
            product(torch.zeros(1, 4, 4, 2, dtype=torch.uint8), weight, 5, [4, 4], *tail)
        with pytest.raises((ValueError, RuntimeError), match="codes must be uint8"):
            product(torch.zeros(1, 4, 4, 3), weight, 5, [4, 4], *tail)
    huge = torch.zeros(1, dtype=torch.uint8).expand(1, 1, 3000, 3000)
    for product in _both("conv2d_weight_gradient"):
        with pytest.raises((ValueError, RuntimeError), match="smaller batch"):
            product(
                torch.zeros(1, dtype=torch.int64).expand(1, 3000, 3000, 1), huge, torch.tensor([0]), 1, 1, [1, 1], *tail
            )
