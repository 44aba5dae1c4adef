"""Counter-based random numbers: Philox-4x32-10, the same on every device and for every thread count.

Source: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11 (the Random123 library).

What a kernel has to reproduce, all words unsigned 32 bits::

    key      k0 = seed & 0xffffffff          k1 = seed >> 32
    counter  c0 = block   c1 = step   c2 = layer   c3 = purpose | stream << 8     (a probe: | 128)

Each field has a word (``c3``: bits) of its own, so no two draws can collide. One block gives four words x0..x3.
Element ``j`` of group ``i``, when every group has ``m`` elements, takes word ``j % 4`` of block ``i * ceil(m / 4) + j
// 4``: a group always starts with a fresh block, so groups can be drawn alone. A word becomes a uniform number by
``(x >> 8) * 2**-24``, which float32 holds exactly and which is below 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

from fqt_core.errors import ConfigurationError

UNIFORM_BITS = 24
"""Random bits in one uniform number."""

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Purpose(IntEnum):
    """What a layer draws numbers for; each purpose is a sequence of its own."""

    INPUT_ROUNDING = 0
    INPUT_SELECTION = 1
    WEIGHT_ROUNDING = 2
    WEIGHT_SELECTION = 3
    INPUT_DITHER_SIGN = 4
    WEIGHT_DITHER_PHASE = 5


PROBE = 1 << 7
"""Added to each purpose by a state that measures and does not train: no draw of training has it."""


class PhiloxKey(NamedTuple):
    """Names one sequence of random numbers. ``purpose`` is the whole counter word ``c3``, stream included."""

    seed: int
    step: int
    layer: int
    purpose: int


@dataclass(slots=True)
class PhiloxState:
    """Where a run stands in its random numbers: one object, shared by all layers of a converted network.

    The trainer sets ``seed`` once and ``step`` before each optimiser step. ``stream`` tells several backward passes
    of one step apart (micro-batches, or processes that train together); without it they would draw the same numbers.
    ``probe``: draw from sequences that no training uses.
    """

    seed: int = 0
    step: int = 0
    stream: int = 0
    probe: bool = False

    def key(self, layer: int, purpose: Purpose) -> PhiloxKey:
        """The key of one draw; raises as :meth:`keys`."""
        return self.keys(layer, [purpose])[0]

    def keys(self, layer: int, purposes: Iterable[Purpose]) -> list[PhiloxKey]:
        """The keys of a layer's draws.

        Raises:
            ConfigurationError: seed is not in [0, 2**63), step or layer not in [0, 2**32), stream not in [0, 2**24).
        """
        for name, value, bits in (
            ("seed", self.seed, 63),
            ("step", self.step, 32),
            ("layer", layer, 32),
            ("stream", self.stream, 24),
        ):
            if not 0 <= value < 1 << bits:
                raise ConfigurationError(f"random state: {name} must be at least 0 and below 2**{bits}, got {value}")
        beside = (PROBE if self.probe else 0) | self.stream << 8
        return [PhiloxKey(self.seed, self.step, layer, int(purpose) | beside) for purpose in purposes]


def philox_4x32(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox-4x32-10 of many counters under one key.

    Args:
        counter: four int64 tensors of one shape (or broadcastable) with values in [0, 2**32).
        key: two ints in [0, 2**32).

    Returns:
        Four int64 tensors with values in [0, 2**32).
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # A product of two 32-bit words fills 64 bits; its bits are right although int64 reads them as negative.
        product0 = c0 * _MULTIPLIERS[0]
        product1 = c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((product1 >> 32) & _MASK) ^ c1 ^ k0,
            product1 & _MASK,
            ((product0 >> 32) & _MASK) ^ c3 ^ k1,
            product0 & _MASK,
        )
        k0 = (k0 + _WEYL[0]) & _MASK
        k1 = (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def random_words(key: PhiloxKey, groups: Tensor, size: int) -> Tensor:
    """The raw 32-bit words of some groups.

    Args:
        key: the sequence.
        groups: int64 (k,), which groups.
        size: elements per group (of every group of the sequence).

    Returns:
        int64 (k, size), values in [0, 2**32).
    """
    blocks = -(-size // 4)
    device = groups.device
    block = groups[:, None] * blocks + torch.arange(blocks, dtype=torch.int64, device=device)
    zero = torch.zeros((), dtype=torch.int64, device=device)
    counter = (block, zero + key.step, zero + key.layer, zero + key.purpose)
    words = philox_4x32(counter, (key.seed & _MASK, key.seed >> 32))
    return torch.stack(words, dim=-1).reshape(groups.shape[0], 4 * blocks)[:, :size]


def uniform_integers(key: PhiloxKey, groups: Tensor, size: int) -> Tensor:
    """int64 (k, size), uniform in [0, 2**24): the numbers that :func:`uniform` scales to [0, 1)."""
    return random_words(key, groups, size) >> (32 - UNIFORM_BITS)


def uniform(key: PhiloxKey, groups: Tensor, size: int) -> Tensor:
    """float32 (k, size), uniform in [0, 1), multiples of 2**-24."""
    return uniform_integers(key, groups, size).to(torch.float32) * 2.0**-UNIFORM_BITS
