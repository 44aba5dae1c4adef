from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fqt_core import ops


def test_layout_is_channel_bits_lowest_first() -> None:
    x = torch.full((1, 70, 1, 2), -1.0)
    x[0, 0, 0, 0] = x[0, 63, 0, 0] = x[0, 65, 0, 1] = 1.0
    words = ops.pack_sign(x)
    assert words.shape == (1, 1, 2, 2)
    assert words[0, 0].tolist() == [[1 - 2**63, 0], [0, 2]]


def test_signs_of_special_values() -> None:
    x = torch.tensor([[0.0, -0.0, 1e-45, -1e-45, float("inf"), -float("inf"), float("nan")]])
    assert ops.unpack_sign(ops.pack_sign(x), 7).tolist() == [[1, 1, 1, -1, 1, -1, -1]]


def test_window_is_open() -> None:
    below = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).item()
    x = torch.tensor([[1.0, -1.0, below, -below, 0.0, float("nan"), 2.0]])
    _, window = ops.pack_sign_window(x)
    assert ops.apply_window(torch.full((1, 7), 5.0), window).tolist() == [[0, 0, 5, 5, 5, 0, 0]]


@given(
    shape=st.sampled_from([(1, 1), (3, 63), (2, 64), (2, 65), (1, 130, 3), (2, 5, 3, 2), (0, 5, 2, 2)]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30)
def test_round_trip_and_zero_tails(shape: tuple[int, ...], seed: int) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    sign, window = ops.pack_sign_window(x)
    assert torch.equal(sign, ops.pack_sign(x))
    assert torch.equal(ops.unpack_sign(sign, shape[1]), torch.where(x >= 0, 1.0, -1.0))
    assert torch.equal(ops.apply_window(torch.ones_like(x), window), (x.abs() < 1).float())
    padded = ops.unpack_sign(sign, sign.shape[-1] * 64)
    assert bool((padded[:, shape[1] :] == -1).all())


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises((ValueError, RuntimeError), match="x must be float32"):
        ops.pack_sign(torch.zeros(2, 3, dtype=torch.int32))
    with pytest.raises((ValueError, RuntimeError), match="at least 2 dimensions"):
        ops.pack_sign(torch.zeros(3))
    with pytest.raises((ValueError, RuntimeError), match="words"):
        ops.unpack_sign(torch.zeros(2, 1, dtype=torch.int64), 65)
    with pytest.raises((ValueError, RuntimeError), match="window"):
        ops.apply_window(torch.zeros(2, 3, 4), torch.zeros(2, 5, 1, dtype=torch.int64))
