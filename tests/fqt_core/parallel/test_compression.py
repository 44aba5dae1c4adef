"""Gradients at a few bits: what a message says, how long it is, and that error feedback loses nothing for good."""

from __future__ import annotations

import pytest
import torch

from fqt_core.parallel.compression import BLOCK, compressed, message_bytes, restored

BITS = range(1, 9)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("count", [1, 7, BLOCK, 3 * BLOCK + 13])
def test_values_come_back_as_the_nearest_level(bits: int, count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count)) * 3
    message = compressed(values, bits)
    assert message.dtype == torch.uint8
    assert len(message) == message_bytes(count, bits)
    found = restored(message, count, bits)
    for part, theirs in zip(values.split(BLOCK), found.split(BLOCK), strict=True):
        if bits == 1:
            expected = part.abs().mean() * torch.where(part >= 0, 1.0, -1.0)
        else:
            steps = 2 ** (bits - 1) - 1
            levels = part.abs().max() * torch.arange(-steps, steps + 1) / steps
            expected = levels[(part[:, None] - levels).abs().argmin(1)]
        torch.testing.assert_close(theirs, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", BITS)
def test_zero_is_zero_and_what_is_not_finite_stays_so(bits: int) -> None:
    assert not restored(compressed(torch.zeros(300), bits), 300, bits).any()
    values = torch.ones(300)
    values[280] = float("nan")
    found = restored(compressed(values, bits), 300, bits)
    assert found[:BLOCK].isfinite().all()
    assert not found[BLOCK:].isfinite().any()


@pytest.mark.parametrize("bits", BITS)
def test_error_feedback_sends_everything_in_the_end(bits: int) -> None:
    gradient = torch.randn(500, generator=torch.Generator().manual_seed(1))
    residual, sent = torch.zeros(500), torch.zeros(500)
    steps = 4000 if bits == 1 else 400  # the residual is bounded, so its share of what was sent vanishes
    for _ in range(steps):
        residual += gradient
        told = restored(compressed(residual, bits), 500, bits)
        residual -= told
        sent += told
    torch.testing.assert_close(sent / steps, gradient, rtol=0, atol=0.1)
