"""What belongs to a binarised layer's latents besides their values: memory format, compact gradients, known signs.

The latents of a convolution, (D, C, kh, kw), lie in memory as ``torch.channels_last`` has it: rows of an output
channel's taps, input channels side by side, 64 of which make a word of signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fqt_core import ops

_Pair: TypeAlias = tuple[int, int]
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

    Row i is ``alpha[index[i]]`` times that of the product of ``signs`` and ``codes``, see
    :func:`fqt_core.ops.hwnc_weight_gradient`. No number of it is larger than
    ``terms · (255 · |scale[i]| + |offset[i]|) · |alpha[index[i]]|``, but for rounding, and with 1 in place of a smaller
    alpha none on the way to them; a sum has as many ``terms`` as the product has pixels.

    Args:
        signs: int64 (H, W, N, ceil(C / 64)), the layer's input.
        codes: uint8 (H', W', k, N rounded up), of the gradient of the kept output channels.
        scale, offset: float32 (k,).
        alpha: float32 (D,), of all output channels.
        channels: C.
        geometry: kernel_size, stride, padding and dilation.
        index: see :class:`CompactGradient`.
    """

    def __init__(
        self,
        signs: Tensor,
        codes: Tensor,
        scale: Tensor,
        offset: Tensor,
        alpha: Tensor,
        *,
        channels: int,
        geometry: tuple[_Pair, _Pair, _Pair, _Pair],
        index: Tensor,
    ) -> None:
        self.signs = signs
        self.codes = codes
        self.scale = scale
        self.offset = offset
        self.alpha = alpha
        self.channels = channels
        self.geometry = geometry
        self.index = index

    @property
    def rows(self) -> Tensor:
        """See the class."""
        factors = self.scale, self.offset
        product = ops.hwnc_weight_gradient(self.signs, self.codes, self.channels, *self.geometry, *factors)
        return product.mul_(self.alpha[self.index].view(-1, 1, 1, 1))

    def sum(self) -> Tensor:
        """At least the magnitude of all numbers together: where it is finite, so are all rows."""
        return self.bound([self])

    @staticmethod
    def bound(gradients: Sequence[DeferredGradient]) -> Tensor:
        """That of several gradients, one at least, float32 (): from the largest of all factors, in few operations."""
        factors = [vector for one in gradients for vector in (one.scale, one.offset, one.alpha)]
        largest = torch.cat(factors).abs().max()
        terms = max(prod(one.codes.shape[:2]) * one.signs.shape[2] for one in gradients)
        rows = sum(len(one.index) for one in gradients)
        # Each of three operations may round up.
        return largest * largest.clamp(min=1) * (2.0 * rows * terms * (_LARGEST_CODE + 1))


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
