"""What to do where a device's memory does not hold what was tried: the same with fewer images at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from fqt_core.errors import DeviceMemoryError

T = TypeVar("T")


def told(error: torch.OutOfMemoryError) -> str:
    """What torch says of it, without what is for experts."""
    return next(iter(str(error).splitlines()), "")


def fewer(images: int, least: int, reason: str) -> int:
    """Half of so many images, but not less than ``least``; the device's memory is tidied up for them.

    Raises:
        DeviceMemoryError: there are no more already. ``reason``: what torch said.
    """
    if images <= least:
        raise DeviceMemoryError(images, reason)
    torch.cuda.empty_cache()
    return max(least, images // 2)


class Room:
    """How many images at a time fit, as far as is known: for passes whose results are those of single images."""

    def __init__(self) -> None:
        self._most: int | None = None

    def each(self, images: int, run: Callable[[slice], T]) -> Iterator[T]:
        """``run(part)`` of a batch of so many images, whole, or part by part once a part has not fitted.

        Raises:
            DeviceMemoryError: a single image does not fit.
        """
        start = 0
        while start < images:
            size = min(images - start, self._most or images)
            try:
                result = run(slice(start, start + size))
            except torch.OutOfMemoryError as error:
                reason = told(error)
            else:
                yield result
                start += size
                continue
            # Out here the error, and with it what its frames held, is gone.
            self._most = fewer(size, 1, reason)
