"""What belongs to a binarised layer's latents besides their values: memory format, compact gradients, known signs.

The latents of a convolution, (D, C, kh, kw), lie in memory as ``torch.channels_last`` has it: rows of an output
channel's taps, input channels side by side, 64 of which make a word of signs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_LARGEST_CODE = 255


def lay_out_(weight: Tensor) -> None:
    """Put a weight's channels side by side in memory; the parameter stays the same object."""
    if weight.dim() == 4:
        weight.data = weight.data.contiguous(memory_format=torch.channels_last)


def is_laid_out(weight: Tensor) -> bool:
    """Whether a weight's channels lie side by side in memory, rows in order."""
    return weight.is_contiguous(memory_format=torch.channels_last if weight.dim() == 4 else torch.contiguous_format)


class CompactGradient:
    """dL/dΘ of some output channels; that of all others is zero.

    ``rows``: float32 (k, *, C), such as (k, kh, kw, C); ``index``: int64 (k,), rising, which channel each belongs to.
    """

    def __init__(self, rows: Tensor, index: Tensor) -> None:
        self._rows = rows
        self.index = index

    @property
    def rows(self) -> Tensor:
        """See the class."""
        return self._rows

    def sum(self) -> Tensor:
        """A number, ``()``, that is not finite if one of the rows' is not."""
        return self._rows.sum()

    def dense(self, weight: Tensor) -> Tensor:
        """The same in the shape and memory format of the weight."""
        result = torch.zeros_like(weight)
        result.movedim(1, -1)[self.index] = self.rows.to(result.dtype)
        return result


class DeferredGradient(CompactGradient):
    """The same, made from what takes less room each time that the rows are asked for; that should be once.

    ``make``: makes the rows. ``factors``: float32 (k,) each: of row i no number is larger than
    ``terms · (255 · |scale[i]| + |offset[i]|) · |alpha[i]|``, but for rounding, and with 1 in place of a smaller
    ``|alpha[i]|`` none on the way to them.
    """

    def __init__(
        self, make: Callable[[], Tensor], index: Tensor, factors: tuple[Tensor, Tensor, Tensor], terms: int
    ) -> None:
        self._make = make
        self._factors = factors
        self._terms = terms
        self.index = index

    @property
    def rows(self) -> Tensor:
        """See the class."""
        return self._make()

    def sum(self) -> Tensor:
        """At least the magnitude of all numbers together: where it is finite, so are all rows."""
        return self.bound([self])

    @staticmethod
    def bound(gradients: Sequence[DeferredGradient]) -> Tensor:
        """That of several gradients, one at least, float32 ()."""
        factors = zip(*(gradient._factors for gradient in gradients), strict=True)
        scale, offset, alpha = (torch.cat(vectors).abs().double() for vectors in factors)
        largest = (scale * _LARGEST_CODE + offset) * alpha.clamp(min=1)
        # Each of three operations may round up.
        return (largest.sum() * (2.0 * max(gradient._terms for gradient in gradients))).to(torch.float32)


class WeightCache:
    """Sign words and mean magnitudes of a weight, for as long as it is the same tensor and nobody has changed it.

    A change is noticed by autograd's version counter, so a write that goes round it (through ``weight.data`` or a NumPy
    view) is not. The cache stays behind when its layer is copied or pickled.
    """

    def __init__(self) -> None:
        self._of: Tensor | None = None
        self._version = -1
        self._words_and_scale: tuple[Tensor, Tensor] | None = None

    def put(self, weight: Tensor, words: Tensor, scale: Tensor) -> None:
        """Remember what belongs to ``weight`` as it is now."""
        self._of = weight.detach()  # keeps the memory from being given to another tensor at the same address
        self._version = weight._version
        self._words_and_scale = words, scale

    def get(self, weight: Tensor) -> tuple[Tensor, Tensor] | None:
        """Words and scale of ``weight``, if they are known; otherwise what was remembered is dropped."""
        if self._of is not None and not (self._version == weight._version and _same_memory(self._of, weight)):
            self._of = self._words_and_scale = None
        return self._words_and_scale

    def __reduce__(self) -> tuple[Any, ...]:
        return WeightCache, ()


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return (
        one.data_ptr() == other.data_ptr()
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
    )
