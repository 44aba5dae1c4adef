"""Forward operations of fused chains: the binary product, its pooling, and what makes bits of it again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fqt_core.ops.forward import binary_conv2d
from fqt_core.ops.geometry import check, check_geometry, check_words, output_sizes, words_for
from fqt_core.ops.packing import pack_bits
from fqt_core.ops.registry import operation

INT16_MAX = (1 << 15) - 1
"""Products of this many ±1 pairs, and no more, fit the 16 bits that a chain keeps of them."""


def check_integers(name: str, y: Tensor) -> None:
    """Refuse what are no integers before normalisation, int16 (H, W, N, D), not empty."""
    check(y.dtype == torch.int16 and y.dim() == 4, f"{name} must be int16 with 4 dimensions")
    check(y.numel() > 0, f"{name} is empty: shape {tuple(y.shape)}")


def check_channel_vectors(channels: int, **vectors: Tensor) -> None:
    """Refuse vectors that do not have one float32 for each channel."""
    for name, vector in vectors.items():
        check(
            vector.dtype == torch.float32 and vector.shape == (channels,),
            f"{name} must be float32 with one entry for each of the {channels} channels",
        )


def _moments(y: Tensor) -> tuple[Tensor, Tensor]:
    rows = y.flatten(0, 2).to(torch.int64)
    return rows.sum(0), (rows * rows).sum(0)


def _conv_fake(
    x: Tensor, weight: Tensor, channels: int, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    del channels
    height, width = output_sizes(x.shape[:2], weight.shape[1:3], stride, padding, dilation)
    outputs = weight.shape[0]
    y = x.new_empty((height, width, x.shape[2], outputs), dtype=torch.int16)
    return y, x.new_empty(outputs, dtype=torch.int64), x.new_empty(outputs, dtype=torch.int64)


@operation(
    "hwnc_binary_conv2d(Tensor x, Tensor weight, int channels, int[2] stride, int[2] padding, int[2] dilation)"
    " -> (Tensor, Tensor, Tensor)",
    fake=_conv_fake,
)
def hwnc_binary_conv2d(
    x: Tensor, weight: Tensor, channels: int, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Convolve ±1 inputs with ±1 weights, with exact padding, and add up what batch normalisation needs.

    Args:
        x: int64 sign words (H, W, N, ceil(C / 64)); bits past the last channel are zero.
        weight: int64 sign words (D, kh, kw, ceil(C / 64)), likewise.
        channels: C; C * kh * kw is at most 32767.
        stride, padding, dilation: two numbers each, height first.

    Returns:
        int16 (H', W', N, D) products; int64 (D,) their sums and the sums of their squares over all rows.
    """
    check_geometry(stride, padding, dilation)
    check_words("x", x, 4, channels)
    check_words("weight", weight, 4, channels)
    terms = channels * weight.shape[1] * weight.shape[2]
    check(terms <= INT16_MAX, f"{terms} products of ±1 do not fit 16 bits; at most {INT16_MAX} do")
    y = binary_conv2d(x.permute(2, 0, 1, 3).contiguous(), weight, channels, stride, padding, dilation, 1)
    y = y.permute(2, 3, 0, 1).to(torch.int16, memory_format=torch.contiguous_format).contiguous()
    return (y, *_moments(y))


def _pool_fake(y: Tensor, flip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del flip
    pooled = y.new_empty((y.shape[0] // 2, y.shape[1] // 2, *y.shape[2:]))
    sums = y.new_empty(y.shape[-1], dtype=torch.int64)
    return pooled, pooled.new_empty(pooled.shape, dtype=torch.uint8), sums, torch.empty_like(sums)


@operation("hwnc_max_pool2d(Tensor y, Tensor flip) -> (Tensor, Tensor, Tensor, Tensor)", fake=_pool_fake)
def hwnc_max_pool2d(y: Tensor, flip: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The greatest (for flipped channels the least) of each 2x2 window, stride 2; an odd last line is left out.

    Args:
        y: int16 (H, W, N, D), H and W at least 2.
        flip: uint8 (D,), 1 where the scale that follows is negative, else 0.

    Returns:
        int16 (H // 2, W // 2, N, D); uint8 of the same shape, which of the four it is (2 · line + column, the first of
        equals, as torch chooses); int64 (D,) sums and sums of squares of what was chosen.
    """
    check_integers("y", y)
    height, width, samples, channels = y.shape
    check(height >= 2 and width >= 2, f"a window of 2x2 does not fit {height}x{width} pixels")
    check(flip.dtype == torch.uint8 and flip.shape == (channels,), f"flip must be uint8 with {channels} entries")
    even = y[: height // 2 * 2, : width // 2 * 2]
    windows = even.reshape(height // 2, 2, width // 2, 2, samples, channels).permute(1, 3, 0, 2, 4, 5).flatten(0, 1)
    sign = 1 - 2 * flip.to(torch.int16)
    best, choice = windows[0] * sign, torch.zeros_like(windows[0], dtype=torch.uint8)
    for place in range(1, 4):
        value = windows[place] * sign
        better = value > best
        best = torch.where(better, value, best)
        choice = torch.where(better, place, choice).to(torch.uint8)
    pooled = (best * sign).contiguous()
    return pooled, choice.contiguous(), *_moments(pooled)


def _affine_fake(y: Tensor, a: Tensor, b: Tensor, residual: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    del a, b
    words = y.new_empty((*y.shape[:-1], words_for(y.shape[-1])), dtype=torch.int64)
    kept = y.shape if keep and residual is None else (0,)
    return words, torch.empty_like(words), y.new_empty(kept, dtype=torch.float32)


@operation(
    "hwnc_affine_sign(Tensor y, Tensor a, Tensor b, Tensor(a!)? residual, bool keep) -> (Tensor, Tensor, Tensor)",
    fake=_affine_fake,
)
def hwnc_affine_sign(
    y: Tensor, a: Tensor, b: Tensor, residual: Tensor | None, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation with its constants at hand, the shortcut's addition, and the next layer's bits.

    ``h = a · y + b (+ residual)``, each operation rounded to float32 by itself; sign bits ``h >= 0``, window bits
    ``|h| < 1`` of the straight-through estimator.

    Args:
        y: int16 (H, W, N, D).
        a, b: float32 (D,).
        residual: float32 (H, W, N, D), whose place h takes; or ``None``.
        keep: whether h is wanted where there is no residual.

    Returns:
        Sign words and window words, int64 (H, W, N, ceil(D / 64)); h, float32 (H, W, N, D), empty if it is not wanted
        or is in the residual's place.
    """
    check_integers("y", y)
    check_channel_vectors(y.shape[-1], a=a, b=b)
    h = y.to(torch.float32) * a + b
    if residual is not None:
        check(
            residual.dtype == torch.float32 and residual.shape == y.shape,
            f"residual must be float32 of shape {tuple(y.shape)}, got {tuple(residual.shape)}",
        )
        h = residual.copy_(h + residual)
    signs, window = pack_bits(h >= 0), pack_bits(h.abs() < 1)
    return signs, window, (h.contiguous() if keep and residual is None else h.new_empty(0))
