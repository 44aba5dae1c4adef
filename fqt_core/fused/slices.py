"""Cuts what is large into slices of samples, so that not all of it has to be there at once."""

from __future__ import annotations

from collections.abc import Iterator

SLICE_BYTES = 8 << 20
"""Of a tensor that is there for some samples at a time; a processor caches it as well."""

GPU_SLICE_BYTES = 128 << 20
"""The same on a GPU, which small pieces would not keep busy."""


def sample_slices(samples: int, bytes_each: int, *, is_cpu: bool) -> Iterator[slice]:
    """Slices of so many samples, of which each takes ``bytes_each``; of one sample at least."""
    size = max(1, (SLICE_BYTES if is_cpu else GPU_SLICE_BYTES) // max(1, bytes_each))
    for begin in range(0, samples, size):
        yield slice(begin, min(begin + size, samples))
