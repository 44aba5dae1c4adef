"""Random words for everything about data, from counters: a function of (seed, purpose, number) and nothing else.

NumPy guarantees the raw stream of its Philox bit generator for ever, but not the methods that shape it, so only raw
words are taken. The generator of the training arithmetic (ALGORITHM section 4) is another one, in ``fqt_core.random``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


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


def permutation(seed: int, purpose: Purpose, number: int, count: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count - 1, int64 ``(count,)``: positions sorted by their random word."""
    return np.argsort(words(seed, purpose, number, count), kind="stable").astype(np.int64)


def below(raw: npt.NDArray[np.uint64], bound: int) -> npt.NDArray[np.int64]:
    """Map words to integers 0 … bound - 1 by their high 32 bits (bias below bound / 2^32)."""
    return (((raw >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)
