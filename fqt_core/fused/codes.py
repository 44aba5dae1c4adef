"""From dL/dh of a block to the codes of its product's gradient, and the gradients of its normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.config import GradientQuantizer
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused.forward import Record
from fqt_core.fused.rows import RowGradient
from fqt_core.layers import BinaryConv2d
from fqt_core.ops import waiting
from fqt_core.quantizers import agp
from fqt_core.quantizers.agp import Selection
from fqt_core.quantizers.stochastic import narrowed
from fqt_core.random import PhiloxKey, Purpose

SAMPLE_PURPOSES = Purpose.INPUT_SELECTION, Purpose.INPUT_ROUNDING
CHANNEL_PURPOSES = Purpose.WEIGHT_SELECTION, Purpose.WEIGHT_ROUNDING


@dataclass(frozen=True)
class GroupCodes:
    """Codes of kept groups, and what they stand for: ``offset + scale · code``, with 1 / p folded in."""

    codes: Tensor
    selection: Selection
    scale: Tensor
    offset: Tensor


@dataclass(frozen=True)
class GradientCodes:
    """What the rest of a block's backward pass is made of.

    ``weight``, ``shift``, ``bias``: float32 (D,), the gradients of γ, β and the convolution's bias. ``span``: the
    greatest value less the least. ``samples`` for dL/dx and ``channels`` for dL/dW: ``None`` for a gradient of zeros.
    """

    weight: Tensor
    shift: Tensor
    bias: Tensor
    span: Callable[[], Tensor]
    samples: GroupCodes | None
    channels: GroupCodes | None


def gradient_codes(record: Record, layer: BinaryConv2d, g: RowGradient, alpha: Tensor) -> GradientCodes:
    """Prune and quantise.

    Args:
        record: of the forward pass.
        layer: the block's convolution.
        g: dL/dh.
        alpha: float32 (D,), the layer's scale.

    Raises:
        NonFiniteGradientError: the gradient holds an infinity or NaN, or a range that float32 cannot hold.
    """
    samples, channels = layer.quantizers
    assert samples is not None
    assert channels is not None
    y = record.integers()
    if are_found_in_one(record, samples, channels):
        return _in_one(record, layer, g, y, alpha, samples, channels)
    return CodesInSteps(record, layer, g, y, alpha).codes(samples, channels)


def are_found_in_one(record: Record, samples: GradientQuantizer, channels: GradientQuantizer) -> bool:
    """Whether one operation finds the codes of a block: it looks at values, and nothing else has to come between."""
    narrows = samples.clip is not None or channels.clip is not None
    alike = samples.pruning == channels.pruning
    return waiting.at_once(record.signs) and alike and not narrows and not record.norm.together


def _in_one(
    record: Record,
    layer: BinaryConv2d,
    g: RowGradient,
    y: Tensor,
    alpha: Tensor,
    samples: GradientQuantizer,
    channels: GradientQuantizer,
) -> GradientCodes:
    norm, state, index = record.norm, layer.state, layer.layer_index
    first, *others = state.keys(index, (*SAMPLE_PURPOSES, *CHANNEL_PURPOSES))
    weight, shift, bias, facts, *found = ops.hwnc_gradient_codes(
        g.rows,
        y,
        g.index,
        norm.center,
        norm.constants,
        norm.batch,
        alpha,
        record.choice,
        record.size,
        (agp.kept_count(y.shape[2], samples.keep), agp.kept_count(y.shape[3], channels.keep)),
        (samples.bits, channels.bits),
        samples.pruning,
        first.seed,
        first.step,
        first.layer,
        (first.purpose, *(key.purpose for key in others)),
    )
    finite, reach, *_ = facts.tolist()
    _check(finite == 1 and math.isfinite(reach), layer)

    def span() -> Tensor:
        return facts[3] - facts[2]

    if reach == 0:
        return GradientCodes(weight, shift, bias, span, None, None)
    of_samples, of_channels = (
        GroupCodes(codes, Selection(index, factor), scale, offset)
        for codes, index, factor, scale, offset in (found[:5], found[5:])
    )
    return GradientCodes(weight, shift, bias, span, of_samples, of_channels)


class CodesInSteps:
    """The same operation by operation: where to look at a value is to wait, and with what lies between them."""

    def __init__(self, record: Record, layer: BinaryConv2d, g: RowGradient, y: Tensor, alpha: Tensor) -> None:
        self.record = record
        self.layer = layer
        self.alpha = alpha
        rows, beside = g.kept_first(y)
        sums = ops.hwnc_gradient_sums(rows, beside, g.index, record.norm.center)
        self.norm = record.norm.gradient(*sums, y.shape[0] * y.shape[1] * y.shape[2])
        if waiting.at_once(y):
            _check(bool(self.norm.finite), layer)
        self.source = (g.rows, y, g.index, self.norm.c, self.norm.a0, self.norm.a1)
        ranges = ops.hwnc_gradient_range(*self.source, alpha, record.choice is not None)
        self.sample_range, self.channel_range = ranges[:2], ranges[2:4]
        self._doubt: Tensor | None = None
        self._zero = False
        self._look(ranges[4])
        self._moments: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def _look(self, reach: Tensor) -> None:
        """See whether the gradient is finite, and zero; where a look has to wait, make its codes tell what it is.

        Args:
            reach: float32 (), from :func:`fqt_core.ops.hwnc_gradient_range`.
        """
        if waiting.at_once(reach):
            _check(math.isfinite(reach), self.layer)
            self._zero = bool(reach == 0)
            return
        finite = torch.isfinite(reach)
        self._doubt = torch.where(finite, 0.0, torch.nan)
        lo, hi, channel_lo, channel_hi = (
            torch.where(finite, bound, 0.0) for bound in (*self.sample_range, *self.channel_range)
        )
        self.sample_range, self.channel_range = (lo, hi), (channel_lo, channel_hi)

    def codes(self, samples: GradientQuantizer, channels: GradientQuantizer) -> GradientCodes:
        """All codes."""
        norm, (lo, hi) = self.norm, self.channel_range

        def span() -> Tensor:
            return hi.max() - lo.min()

        if self._zero:
            return GradientCodes(norm.weight, norm.shift, norm.bias, span, None, None)
        of_channels = self._quantize(self.channel_range, channels, *CHANNEL_PURPOSES)
        of_samples = self._quantize(self.sample_range, samples, *SAMPLE_PURPOSES)
        return GradientCodes(norm.weight, norm.shift, norm.bias, span, of_samples, of_channels)

    def _quantize(
        self, ranges: tuple[Tensor, Tensor], quantizer: GradientQuantizer, selection: Purpose, rounding: Purpose
    ) -> GroupCodes:
        """Prune and quantise: samples for dL/dX, channels for dL/dW."""
        state, index = self.layer.state, self.layer.layer_index
        chosen = agp.select(*ranges, quantizer, state.key(index, selection))
        if quantizer.clip is not None:
            ranges = self.clipped(quantizer.groups == "sample", quantizer.clip)
        lo, hi, scale, offset = ops.kept_ranges(*ranges, chosen.index, chosen.factor, quantizer.bits)
        if self._doubt is not None:
            scale = scale + self._doubt
        key: PhiloxKey = state.key(index, rounding)
        tail: tuple[Any, ...] = (self.record.choice, self.record.size, chosen.index, lo, hi, quantizer.bits, *key)
        if quantizer.groups == "sample":
            codes = ops.hwnc_quantize_samples(*self.source, self.alpha, *tail)
        else:
            codes = ops.hwnc_quantize_channels(*self.source, *tail)
        return GroupCodes(codes, chosen, scale, offset)

    def clipped(self, of_samples: bool, clip: float) -> tuple[Tensor, Tensor]:
        """Ranges of samples or of channels, narrowed to mean ± clip·σ; the zeros that pooling leaves count."""
        height, width, samples, channels = self.source[1].shape
        pixels = self.record.size[0] * self.record.size[1]
        if self._moments is None:
            zeros = pixels - height * width
            self._moments = ops.hwnc_gradient_moments(
                *self.source, self.alpha, zeros, *self.sample_range, *self.channel_range
            )
        if of_samples:
            return narrowed(*self.sample_range, *self._moments[:2], pixels * channels, clip)
        return narrowed(*self.channel_range, *self._moments[2:], pixels * samples, clip)


def _check(finite: bool, layer: BinaryConv2d) -> None:
    if not finite:
        raise NonFiniteGradientError(layer.layer_name, layer.state.step)
