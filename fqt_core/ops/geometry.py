"""Shapes and bounds that all ops share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

WORD_BITS = 64
"""Bits in one packed word (int64, bit 0 first)."""

EXACT_FLOAT32 = 1 << 24
"""Integers up to this are exact in float32, and so is every partial sum whose terms' magnitudes add up to no more."""

INT32_MAX = (1 << 31) - 1


def words_for(channels: int) -> int:
    """Words that hold ``channels`` bits."""
    return -(-channels // WORD_BITS)


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Length of a convolution's output along one axis."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_sizes(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> tuple[int, int]:
    """Height and width of a convolution's output."""
    height, width = (output_size(size[i], kernel[i], stride[i], padding[i], dilation[i]) for i in range(2))
    return height, width


def check(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def check_count(name: str, values: Sequence[object], count: int) -> None:
    """Refuse a list that does not have ``count`` entries."""
    check(len(values) == count, f"{name} must have {count} entries, got {len(values)}")


def pairs_of(numbers: Sequence[int], owner: int, pairs: int) -> list[Sequence[int]]:
    """The ``pairs`` of one owner, of numbers of which each owner has so many pairs."""
    first = 2 * pairs * owner
    return [numbers[at : at + 2] for at in range(first, first + 2 * pairs, 2)]


def check_geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> None:
    """Refuse window parameters that no convolution has."""
    for name, values, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        check(
            len(values) == 2 and min(values) >= least,
            f"{name} must be two numbers of at least {least}, got {list(values)}",
        )


def check_words(name: str, words: Tensor, dim: int, channels: int) -> None:
    """Refuse a tensor that cannot be packed bits of ``channels`` channels in ``dim`` dimensions."""
    check(words.dtype.is_signed and words.element_size() == 8, f"{name} must be int64 words, got {words.dtype}")
    check(words.dim() == dim, f"{name} must have {dim} dimensions, got {words.dim()}")
    check(
        words.shape[-1] == words_for(channels),
        f"{name} must have {words_for(channels)} words for {channels} channels, got {words.shape[-1]}",
    )
