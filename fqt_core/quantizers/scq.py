"""Sample-channel joint quantisation (SCQ): the scale must stand outside the sum of the product it enters.

::

    ∂L/∂X = convT(G, Wb)  sums over channels → groups are samples:   Δ_n · convT(q[n], Wb) + z_n · convT(1, Wb)
    ∂L/∂Θ = corr(G, Xb)   sums over samples  → groups are channels:  Δ_d · corr(q[:, d], Xb) + z_d · corr(1, Xb)

so G is quantised twice, once for each product, and both products are low-bit integers. Pruning (AGP) comes first:
only kept groups are quantised, and their factor 1 / p is folded into scale and offset afterwards.

Source: arXiv 2408.14267.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.config import GradientQuantizer
from fqt_core.quantizers import agp
from fqt_core.quantizers.stochastic import clipped_range
from fqt_core.random import PhiloxKey


@dataclass(frozen=True)
class GroupRanges:
    """Least and greatest element of each group along ``dim``; float32 (groups,).

    ``doubt``: float32 (), 0 or NaN, of ranges that nobody has looked at; ``None``: they are finite.
    """

    dim: int
    lo: Tensor
    hi: Tensor
    doubt: Tensor | None = None

    @classmethod
    def scan(cls, g: Tensor, dim: int) -> GroupRanges:
        """Scan G, float32 (N, D, *), not empty."""
        lo, hi = ops.group_range(g, dim)
        return cls(dim, lo, hi)

    def joined(self) -> GroupRanges:
        """One range for all groups."""
        lo, hi = self.lo.amin().expand_as(self.lo), self.hi.amax().expand_as(self.hi)
        return GroupRanges(self.dim, lo, hi, self.doubt)

    def unseen(self) -> GroupRanges:
        """The same ranges if they are finite, else ranges of zeros that are in doubt; without a look at which.

        Doubt makes the scale of all codes NaN, so that the products tell what is wrong with the gradient.
        """
        finite = torch.isfinite(self.hi - self.lo).all()
        doubt = torch.where(finite, 0.0, torch.nan).to(self.lo.dtype)
        return GroupRanges(self.dim, torch.where(finite, self.lo, 0.0), torch.where(finite, self.hi, 0.0), doubt)

    def is_finite(self) -> bool:
        """Whether all elements are finite, and every range fits float32."""
        return bool(torch.isfinite(self.hi - self.lo).all())

    def is_zero(self) -> bool:
        """Whether all elements are zero."""
        return not bool((self.lo != 0).logical_or(self.hi != 0).any())


@dataclass(frozen=True)
class QuantizedGradient:
    """The kept groups of a gradient, as codes: element = ``offset + scale · code``, with 1 / p folded in.

    ``codes``: uint8, (k, *, D) if ``dim`` is 0 (samples), (k, N, *) if it is 1 (channels); ``index``: int64 (k,),
    numbers of the kept groups; ``scale``, ``offset``, ``factor`` (1 / p): float32 (k,).
    """

    dim: int
    codes: Tensor
    index: Tensor
    scale: Tensor
    offset: Tensor
    factor: Tensor

    def combine(self, product: Tensor, constant: Tensor) -> Tensor:
        """``scale · product + offset · constant``: integer products (k, *) of codes and of ones to float32 (k, *)."""
        shape = (-1, *([1] * (product.dim() - 1)))
        result = product.to(torch.float32).mul_(self.scale.view(shape))
        return result.add_(self.offset.view(shape) * constant.to(torch.float32))

    def dequantize(self) -> Tensor:
        """The estimate of the kept groups in floating point: (k, D, *) for samples, (N, k, *) for channels."""
        shape = (-1, *([1] * (self.codes.dim() - 1)))
        values = self.codes.to(torch.float32) * self.scale.view(shape) + self.offset.view(shape)
        return values.movedim(-1, 1) if self.dim == 0 else values.transpose(0, 1)


def quantize(
    g: Tensor, ranges: GroupRanges, quantizer: GradientQuantizer, selection_key: PhiloxKey, rounding_key: PhiloxKey
) -> QuantizedGradient:
    """Prune and quantise a gradient.

    Args:
        g: float32 (N, D, *), contiguous, not empty; finite.
        ranges: of ``g``, along the quantiser's groups.
        quantizer: bits, pruning and clipping.
        selection_key, rounding_key: the random sequences to draw from.
    """
    selection = agp.select(ranges.lo, ranges.hi, quantizer, selection_key)
    index, factor = selection.index, selection.factor
    lo, hi = ranges.lo, ranges.hi
    if quantizer.clip is not None:
        lo, hi = clipped_range(g, ranges.dim, lo, hi, quantizer.clip)
    lo, hi, scale, offset = ops.kept_ranges(lo, hi, index, factor, quantizer.bits)
    if ranges.doubt is not None:
        scale = scale + ranges.doubt
    codes = ops.quantize_groups(g, ranges.dim, index, lo, hi, quantizer.bits, *rounding_key)
    return QuantizedGradient(ranges.dim, codes, index, scale, offset, factor)
