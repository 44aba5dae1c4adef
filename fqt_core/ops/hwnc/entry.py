"""Where a chain begins: floats with channels last become normalised bits in the layout of the chain, and back.

The float batch normalisation in front of the first sign is taken into the chain, so that its output is never stored
where only bits of it are needed, and its gradient is formed from the samples that were kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fqt_core.ops.geometry import check, words_for
from fqt_core.ops.hwnc.forward import check_channel_vectors
from fqt_core.ops.hwnc.gradient import check_rows, ordered_sum
from fqt_core.ops.packing import pack_bits
from fqt_core.ops.registry import operation


def _check_input(x: Tensor) -> None:
    check(x.dtype == torch.float32 and x.dim() == 4, "x must be float32 with 4 dimensions")
    check(x.numel() > 0, f"x is empty: shape {tuple(x.shape)}")


def _moments_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    sums = x.new_empty(x.shape[3], dtype=torch.float64)
    return sums, torch.empty_like(sums)


@operation("hwnc_entry_moments(Tensor x) -> (Tensor, Tensor)", fake=_moments_fake)
def hwnc_entry_moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Σ (x - o) and Σ (x - o)² of each channel, where the origin o is the channel's first value, x[0, 0, 0].

    With an origin among the values, the variance loses nothing to a mean that is far from zero. Rows are added in the
    order of memory, as :func:`fqt_core.ops.hwnc_gradient_sums` adds them.

    Args:
        x: float32 (N, H, W, C), not empty.

    Returns:
        float64 (C,) twice.
    """
    _check_input(x)
    shifted = x - x[0, 0, 0]
    return ordered_sum(shifted), ordered_sum(shifted * shifted)


def _enter_fake(x: Tensor, a: Tensor, b: Tensor, sign: Tensor, window: Tensor, h: Tensor | None, first: int) -> None:
    del x, a, b, sign, window, h, first


@operation(
    "hwnc_enter(Tensor x, Tensor a, Tensor b, Tensor(a!) sign, Tensor(b!) window, Tensor(c!)? h, int first) -> ()",
    fake=_enter_fake,
)
def hwnc_enter(x: Tensor, a: Tensor, b: Tensor, sign: Tensor, window: Tensor, h: Tensor | None, first: int) -> None:
    """``h = a · x + b``, each operation rounded to float32 by itself, and the bits ``h >= 0`` and ``|h| < 1``.

    Results are of R samples, of which those from ``first`` to ``first + N`` are written.

    Args:
        x: float32 (N, H, W, C), not empty.
        a, b: float32 (C,).
        sign, window: for the bits, int64 words (H, W, R, ceil(C / 64)).
        h: for the floats, float32 (H, W, R, C), if they are wanted.
        first: place of the first sample of x, with R - N at most.
    """
    _check_input(x)
    samples, height, width, channels = x.shape
    check_channel_vectors(channels, a=a, b=b)
    room = sign.shape[2] if sign.dim() == 4 else 0
    check(0 <= first <= room - samples, f"{samples} samples from {first} on do not fit a room of {room}")
    results = {"sign": (sign, torch.int64, words_for(channels)), "window": (window, torch.int64, words_for(channels))}
    if h is not None:
        results["h"] = (h, torch.float32, channels)
    for name, (result, dtype, last) in results.items():
        expected = (height, width, room, last)
        check(result.dtype == dtype and result.shape == expected, f"{name} must be {dtype} of shape {expected}")
    values, part = (x * a + b).permute(1, 2, 0, 3), slice(first, first + samples)
    sign[:, :, part], window[:, :, part] = pack_bits(values >= 0), pack_bits(values.abs() < 1)
    if h is not None:
        h[:, :, part] = values


def _sums_fake(g: Tensor, index: Tensor, x: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    del g, index, center
    return _moments_fake(x)


@operation("hwnc_entry_sums(Tensor g, Tensor index, Tensor x, Tensor center) -> (Tensor, Tensor)", fake=_sums_fake)
def hwnc_entry_sums(g: Tensor, index: Tensor, x: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
    """Σ g and Σ g · (x - center) of each channel, over the rows of g as :func:`fqt_core.ops.hwnc_gradient_sums` has it.

    Args:
        g: float32 (H, W, k, C).
        index: int64 (k,), which sample each row of g belongs to, rising.
        x: float32 (N, H, W, C), not empty.
        center: float32 (C,).

    Returns:
        float64 (C,) twice.
    """
    _check_input(x)
    samples, height, width, channels = x.shape
    check_rows(g, index, (height, width, samples, channels))
    check_channel_vectors(channels, center=center)
    centred = x[index].permute(1, 2, 0, 3) - center
    return ordered_sum(g), ordered_sum(g * centred)


def _leave_fake(g: Tensor, index: Tensor, x: Tensor, c: Tensor, a0: Tensor, a1: Tensor) -> Tensor:
    del g, index, c, a0, a1
    return torch.empty_like(x)


@operation("hwnc_leave(Tensor g, Tensor index, Tensor x, Tensor c, Tensor a0, Tensor a1) -> Tensor", fake=_leave_fake)
def hwnc_leave(g: Tensor, index: Tensor, x: Tensor, c: Tensor, a0: Tensor, a1: Tensor) -> Tensor:
    """``(c · g - a1 · x) - a0``, with g = 0 for samples that are not there; each operation rounded by itself.

    Args:
        g: float32 (H, W, k, C).
        index: int64 (k,), which sample each row of g belongs to, rising.
        x: float32 (N, H, W, C), not empty.
        c, a0, a1: float32 (C,).

    Returns:
        float32 (N, H, W, C); a zero is +0.
    """
    _check_input(x)
    samples, height, width, channels = x.shape
    check_rows(g, index, (height, width, samples, channels))
    check_channel_vectors(channels, c=c, a0=a0, a1=a1)
    spread = torch.zeros_like(x, memory_format=torch.contiguous_format)
    spread[index] = g.permute(2, 0, 1, 3)
    return ((c * spread - a1 * x) - a0) + 0.0
