from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops
from tests.fqt_core import independent
from tests.fqt_core.cases import gradient

KEY = (2**40 + 5, 3, 1, 0)
SERVED = [torch.ops.fqt.quantize_groups.default, ops.OPERATIONS["quantize_groups"].reference]


@given(
    shape=st.sampled_from([(1, 1), (5, 3), (3, 7, 2, 3), (1, 4, 1, 1), (4, 1, 3, 3), (2, 130, 2, 2)]),
    dim=st.integers(0, 1),
    bits=st.sampled_from([1, 2, 4, 8]),
    seed=st.integers(0, 10_000),
    narrow=st.sampled_from([1.0, 0.5]),
)
@settings(max_examples=60)
def test_codes_are_those_of_the_specification(
    shape: tuple[int, ...], dim: int, bits: int, seed: int, narrow: float
) -> None:
    g = gradient(shape, seed)
    lo, hi = ops.group_range(g, dim)
    index = torch.arange(shape[dim])[::2]
    low, high = lo[index] * narrow, hi[index] * narrow
    expected = independent.codes(g, dim, index, low, high, bits, KEY)
    for quantize in SERVED:
        codes = quantize(g, dim, index, low, high, bits, *KEY)
        tail = (*shape[2:], shape[1]) if dim == 0 else (shape[0], *shape[2:])
        assert codes.shape == (len(index), *tail)
        assert torch.equal(codes.flatten(1), expected)


@pytest.mark.parametrize("quantize", SERVED)
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("magnitude", [1.0, 1e-42, 1e-37, 3e37])
def test_stochastic_rounding_is_unbiased(quantize: Callable[..., torch.Tensor], bits: int, magnitude: float) -> None:
    # Every one of many groups holds the same elements; each draws its own numbers.
    elements, groups, levels = 50, 4000, 2**bits - 1
    row = torch.linspace(-1, 1.3, elements) * magnitude
    g = row.repeat(groups, 1)
    lo, hi = ops.group_range(g, 0)
    codes = quantize(g, 0, torch.arange(groups), lo, hi, bits, *KEY).double()
    delta = (hi[0].double() - lo[0].double()) / levels
    exact = (row.double() - row.double().min()) / delta
    # A code takes two neighbouring values, so by Hoeffding the mean of n is off by more than `bound` somewhere
    # among the elements with probability at most 1e-6.
    bound = math.sqrt(math.log(2 * elements / 1e-6) / (2 * groups))
    assert float((codes.mean(0) - exact).abs().max()) <= bound
    assert bool((codes.amax(0) - codes.amin(0) <= 1).all())
    assert codes[:, 0].unique().tolist() == [0]
    assert codes[:, -1].unique().tolist() == [levels]


@pytest.mark.parametrize("quantize", SERVED)
def test_a_constant_group_is_exact(quantize: Callable[..., torch.Tensor]) -> None:
    g = torch.tensor([[0.3] * 9, [-1e-41] * 9, [0.0] * 9])
    codes = quantize(g, 0, torch.arange(3), g[:, 0], g[:, 0], 4, *KEY)
    assert int(codes.max()) == 0


@pytest.mark.parametrize("quantize", SERVED)
def test_a_range_of_no_width_far_from_its_elements_is_exact(quantize: Callable[..., torch.Tensor]) -> None:
    codes = quantize(torch.full((1, 9), 1e38), 0, torch.tensor([0]), torch.ones(1), torch.ones(1), 4, *KEY)
    assert int(codes.max()) == 0


@pytest.mark.parametrize("quantize", SERVED)
def test_codes_never_leave_their_bits(quantize: Callable[..., torch.Tensor]) -> None:
    # Values that reach the top level, where adding a number just below 1 can round up.
    for bits in (1, 2, 4, 8):
        g = torch.full((2, 200_000), 1.0)
        g[:, 0] = 0.0
        codes = quantize(g, 0, torch.arange(2), torch.zeros(2), torch.ones(2), bits, *KEY)
        assert codes[:, 1:].unique().tolist() == [2**bits - 1]


@pytest.mark.parametrize("quantize", SERVED)
def test_no_group_at_all(quantize: Callable[..., torch.Tensor]) -> None:
    empty = torch.zeros(0)
    codes = quantize(torch.ones(2, 3, 4, 5), 1, torch.zeros(0, dtype=torch.int64), empty, empty, 4, *KEY)
    assert codes.shape == (0, 2, 4, 5)


@pytest.mark.parametrize("quantize", SERVED)
def test_wrong_arguments_are_named(quantize: Callable[..., torch.Tensor]) -> None:
    g, one = torch.ones(2, 3), torch.ones(1)
    index = torch.tensor([0])
    with pytest.raises((ValueError, RuntimeError), match="bits must be 1 to 8, got 9"):
        quantize(g, 0, index, one, one, 9, *KEY)
    with pytest.raises((ValueError, RuntimeError), match="index must be at least 0 and below 2"):
        quantize(g, 0, torch.tensor([2]), one, one, 4, *KEY)
    with pytest.raises((ValueError, RuntimeError), match="lo"):
        quantize(g, 0, index, torch.ones(2), torch.ones(2), 4, *KEY)
    with pytest.raises((ValueError, RuntimeError), match="dimension 0 or 1"):
        quantize(g, 2, index, one, one, 4, *KEY)
    with pytest.raises((ValueError, RuntimeError), match="empty"):
        quantize(g[:0], 0, index, one, one, 4, *KEY)
    with pytest.raises((ValueError, RuntimeError), match="float32"):
        quantize(g.double(), 0, index, one, one, 4, *KEY)
