"""A gradient that is there for some samples only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.fused.slices import sample_slices


@dataclass(frozen=True)
class RowGradient:
    """A gradient, float32 (H, W, k, C), of the samples ``index``, int64 (k,), rising; zero for all others.

    ``factor``: float32 (k,), where all samples are there since nobody knows how many were kept; rows of those with
    factor 0 are zeros (:class:`fqt_core.quantizers.agp.Selection`).
    """

    rows: Tensor
    index: Tensor
    factor: Tensor | None = None

    def whole(self) -> RowGradient:
        """All of it."""
        return self

    def parts(self) -> Iterator[RowGradient]:
        """All of it, in one part."""
        yield self

    def kept_first(self, beside: Tensor) -> tuple[Tensor, Tensor]:
        """``rows``, and ``beside``, (H, W, N, C), for sums whose order is fixed.

        With a ``factor`` the rows (h, w, sample) of samples that were not kept stand behind all others. They are zeros,
        so that the sums have the bits that they have where such rows are not there.
        """
        if self.factor is None:
            return self.rows, beside
        order = _order(self.factor != 0, self.rows.shape[0] * self.rows.shape[1])
        rows, beside = (values.flatten(0, 2)[order].view(values.shape) for values in (self.rows, beside))
        return rows, beside

    def spread(self, samples: int) -> Tensor:
        """The gradient of all samples, float32 (H, W, samples, C)."""
        if len(self.index) == samples:
            return self.rows
        height, width, _, channels = self.rows.shape
        result = self.rows.new_zeros((height, width, samples, channels))
        ops.hwnc_add_rows(result, self.rows, self.index)
        return result


@dataclass(frozen=True)
class PendingRows:
    """A gradient whose rows are made when they are asked for, of all its samples or of some at a time.

    ``make``: the rows of these of its samples. ``bytes_each``: that a sample's rows take; ``index``, ``factor``: as of
    :class:`RowGradient`.
    """

    make: Callable[[slice], Tensor]
    bytes_each: int
    index: Tensor
    factor: Tensor | None = None

    def whole(self) -> RowGradient:
        """All of it."""
        return RowGradient(self.make(slice(None)), self.index, self.factor)

    def parts(self) -> Iterator[RowGradient]:
        """All of it, some samples at a time."""
        for samples in sample_slices(len(self.index), self.bytes_each, is_cpu=self.index.is_cpu):
            yield self._part(samples)

    def _part(self, samples: slice) -> RowGradient:
        factor = None if self.factor is None else self.factor[samples]
        return RowGradient(self.make(samples), self.index[samples], factor)


def _order(kept: Tensor, pixels: int) -> Tensor:
    """Numbers of all (pixel, sample), those of kept samples first: bool (N,) to int64 (pixels · N,).

    By arithmetic, for what a GPU chose can be counted there, but not be the size of a tensor without waiting.
    """
    samples, count = len(kept), kept.sum()
    sample = kept.to(torch.uint8).argsort(descending=True, stable=True)  # not every torch sorts bool on CUDA
    row = torch.arange(pixels * samples, dtype=torch.int64, device=kept.device)
    behind = row - pixels * count
    first, others = count.clamp(min=1), (samples - count).clamp(min=1)
    pixel = torch.where(behind < 0, row // first, behind // others)
    place = torch.where(behind < 0, row % first, count + behind % others)
    return pixel * samples + sample[place]
