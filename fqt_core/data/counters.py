"""Random words for everything about data, from counters: a function of (seed, purpose, number) and nothing else.

NumPy guarantees the raw stream of its Philox bit generator for ever, but not the methods that shape it, so only raw
words are taken. The generator of the training arithmetic (ALGORITHM section 4) is another one, in ``fqt_core.random``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

_MASK = 0xFFFFFFFFFFFFFFFF


class Purpose(IntEnum):
    """What the words are for; each purpose has its own stream."""

    SPLIT = 1
    ORDER = 2
    AUGMENT = 3
    STEP = 4
    INIT = 5
    PROBE = 6
    CHOICE = 7


def words(seed: int, purpose: Purpose, number: int, count: int) -> npt.NDArray[np.uint64]:
    """``count`` uniform words, uint64 ``(count,)``.

    Args:
        seed: 0 to 2^63 - 1.
        purpose: the stream.
        number: the place in the stream, e.g. the epoch; 0 to 2^56 - 1.
        count: how many words.
    """
    key = np.array([seed, (number << 8) | purpose], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(count)


def word(seed: int, purpose: Purpose, number: int) -> int:
    """The first of :func:`words`, for what is drawn at every step: NumPy's generator takes long to make.

    It is Philox-4x64-10 with counter 1. Source: as of :mod:`fqt_core.random`.
    """
    c0, c1, c2, c3 = 1, 0, 0, 0
    k0, k1 = seed, (number << 8) | purpose
    for _ in range(10):
        product0, product1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (product1 >> 64) ^ c1 ^ k0, product1 & _MASK, (product0 >> 64) ^ c3 ^ k1, product0 & _MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _MASK, (k1 + 0xBB67AE8584CAA73B) & _MASK
    return c0


def permutation(seed: int, purpose: Purpose, number: int, count: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count - 1, int64 ``(count,)``: positions sorted by their random word."""
    return np.argsort(words(seed, purpose, number, count), kind="stable").astype(np.int64)


def below(raw: npt.NDArray[np.uint64], bound: int) -> npt.NDArray[np.int64]:
    """Map words to integers 0 … bound - 1 by their high 32 bits (bias below bound / 2^32)."""
    return (((raw >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)
