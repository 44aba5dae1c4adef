"""Signs and windows as bits.

Layout: channels are moved last and packed 64 to an int64 word, channel ``c`` in bit ``c % 64`` of word ``c // 64``; a
set bit means +1 (sign) or "inside" (window); bits past the last channel are zero. So (N, C, H, W) floats become
(N, H, W, ceil(C / 64)) words, and a weight (D, C, kh, kw) becomes (D, kh, kw, ceil(C / 64)).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.ops.geometry import WORD_BITS, check, words_for
from fqt_core.ops.registry import operation


def pack_bits(bits: Tensor) -> Tensor:
    """Pack bool (..., C) into int64 words (..., ceil(C / 64)). Relies on little-endian byte order."""
    channels = bits.shape[-1]
    words = words_for(channels)
    octets = functional.pad(bits.to(torch.uint8), (0, words * WORD_BITS - channels)).contiguous()
    octets = octets.view(*bits.shape[:-1], words * 8, 8)
    packed = torch.zeros((*bits.shape[:-1], words), dtype=torch.int64, device=bits.device)
    of_words = packed.view(torch.uint8)
    for bit in range(8):
        of_words |= octets[..., bit] << bit
    return packed


def unpack_bits(words: Tensor, channels: int) -> Tensor:
    """Inverse of :func:`pack_bits`: uint8 (..., C) of 0 and 1."""
    shifts = torch.arange(8, dtype=torch.uint8, device=words.device)
    octets = words.clone(memory_format=torch.contiguous_format).view(torch.uint8)  # with strides of 1 at any size
    bits = (octets.unsqueeze(-1) >> shifts) & 1
    return bits.flatten(-2)[..., :channels]


def _check_channels_second(name: str, x: Tensor) -> None:
    check(x.dim() >= 2, f"{name} must have at least 2 dimensions, got {x.dim()}")
    check(x.dtype == torch.float32, f"{name} must be float32, got {x.dtype}")


def _check_unpack(words: Tensor, channels: int) -> None:
    check(words.dtype == torch.int64, f"words must be int64, got {words.dtype}")
    check(words.dim() >= 2, f"words must have at least 2 dimensions, got {words.dim()}")
    check(
        words.shape[-1] == words_for(channels),
        f"{channels} channels take {words_for(channels)} words, got {words.shape[-1]}",
    )


def _words_like(x: Tensor) -> Tensor:
    return x.new_empty((x.shape[0], *x.shape[2:], words_for(x.shape[1])), dtype=torch.int64)


def _pack_sign_fake(x: Tensor) -> Tensor:
    return _words_like(x)


@operation("pack_sign(Tensor x) -> Tensor", fake=_pack_sign_fake)
def pack_sign(x: Tensor) -> Tensor:
    """Pack ``x >= 0``: sign(0) = sign(-0) = +1, and a NaN counts as -1.

    Args:
        x: float32 (N, C, *).

    Returns:
        int64 words (N, *, ceil(C / 64)).
    """
    _check_channels_second("x", x)
    return pack_bits((x >= 0).movedim(1, -1))


def _pack_sign_window_fake(x: Tensor) -> tuple[Tensor, Tensor]:
    return _words_like(x), _words_like(x)


@operation("pack_sign_window(Tensor x) -> (Tensor, Tensor)", fake=_pack_sign_window_fake)
def pack_sign_window(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pack ``x >= 0`` and the straight-through window ``|x| < 1`` in one pass.

    Args:
        x: float32 (N, C, *).

    Returns:
        Sign words and window words, int64 (N, *, ceil(C / 64)) each.
    """
    _check_channels_second("x", x)
    return pack_bits((x >= 0).movedim(1, -1)), pack_bits((x.abs() < 1).movedim(1, -1))


def _unpack_sign_fake(words: Tensor, channels: int) -> Tensor:
    return words.new_empty((words.shape[0], channels, *words.shape[1:-1]), dtype=torch.float32)


@operation("unpack_sign(Tensor words, int channels) -> Tensor", fake=_unpack_sign_fake)
def unpack_sign(words: Tensor, channels: int) -> Tensor:
    """Inverse of :func:`pack_sign`.

    Args:
        words: int64 (N, *, ceil(C / 64)).
        channels: C.

    Returns:
        float32 (N, C, *), each -1 or +1.
    """
    _check_unpack(words, channels)
    return (unpack_bits(words, channels).movedim(-1, 1).to(torch.float32) * 2 - 1).contiguous()


def _apply_window_fake(gradient: Tensor, window: Tensor) -> Tensor:  # noqa: ARG001 - the operation's signature
    return torch.empty_like(gradient, memory_format=torch.contiguous_format)


@operation("apply_window(Tensor gradient, Tensor window) -> Tensor", fake=_apply_window_fake)
def apply_window(gradient: Tensor, window: Tensor) -> Tensor:
    """The straight-through estimator: keep the gradient where the window bit is set, zero elsewhere.

    Args:
        gradient: float32 (N, C, *).
        window: int64 words (N, *, ceil(C / 64)).

    Returns:
        Like ``gradient``, contiguous.
    """
    _check_channels_second("gradient", gradient)
    _check_unpack(window, gradient.shape[1])
    check(
        window.shape[:-1] == (gradient.shape[0], *gradient.shape[2:]),
        f"a window of shape {tuple(window.shape)} does not fit a gradient of shape {tuple(gradient.shape)}",
    )
    inside = unpack_bits(window, gradient.shape[1]).movedim(-1, 1).to(torch.bool)
    return torch.where(inside, gradient, gradient.new_zeros(())).contiguous()
