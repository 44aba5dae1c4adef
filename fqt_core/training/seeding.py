"""Keeps torch's global random state out of training: what draws from it (dropout, initialisation) is seeded by counter.

Inside :func:`seeded` the state is a function of (seed, purpose, number); afterwards it is what it was before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from fqt_core.data.counters import Purpose, word


@contextmanager
def seeded(seed: int, purpose: Purpose, number: int = 0, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's default generators of the CPU and of ``device`` for the time of a ``with`` block."""
    generators = [torch.default_generator]
    if device is not None and device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        generators.append(torch.cuda.default_generators[device.index or 0])
    saved = [generator.get_state() for generator in generators]
    start = word(seed, purpose, number) >> 1
    try:
        for generator in generators:
            generator.manual_seed(start)
        yield
    finally:
        for generator, state in zip(generators, saved, strict=True):
            generator.set_state(state)


def seeded_init(seed: int) -> AbstractContextManager[None]:
    """For building a network: the same ``seed`` gives the same initial weights, and the global state is untouched."""
    return seeded(seed, Purpose.INIT)
