"""The backward pass of one block: from dL/dh to dL/dx and the gradients of its parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.config import GradientQuantizer
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused.forward import Record
from fqt_core.fused.normalization import NormalizationGradient
from fqt_core.fused.rows import PendingRows, RowGradient
from fqt_core.fused.store import GradientStore
from fqt_core.layers import BinaryConv2d, BinaryLayer, CompactGradient, DeferredGradient
from fqt_core.layers.products import ConvProduct
from fqt_core.ops import waiting
from fqt_core.quantizers import agp
from fqt_core.quantizers.agp import Selection
from fqt_core.quantizers.scale import learned_scale_gradient
from fqt_core.quantizers.sign import share_of_bits
from fqt_core.quantizers.stochastic import narrowed
from fqt_core.random import PhiloxKey, Purpose


@dataclass(frozen=True)
class _Scaled:
    """Codes of kept groups, and what they stand for: ``offset + scale · code``, with 1 / p folded in."""

    codes: Tensor
    selection: Selection
    scale: Tensor
    offset: Tensor


class BlockGradient:
    """One backward pass of one block.

    Args:
        record: of the forward pass.
        g: dL/dh.

    Raises:
        NonFiniteGradientError: the gradient holds an infinity or NaN, or a range that float32 cannot hold.
    """

    def __init__(self, record: Record, g: RowGradient) -> None:
        conv = record.block.conv
        assert isinstance(conv, BinaryConv2d)
        self.record = record
        self.layer = conv
        self._g = g
        y = record.integers()
        height, width, samples, channels = y.shape
        rows, beside = g.kept_first(y)
        sums = ops.hwnc_gradient_sums(rows, beside, g.index, record.norm.center)
        self.norm: NormalizationGradient = record.norm.gradient(*sums, height * width * samples)
        if waiting.at_once(y):
            self._check(self.norm.finite)
        self._alpha = g.rows.new_ones(channels) if record.alpha is None else record.alpha
        self._source = (g.rows, y, g.index, self.norm.c, self.norm.a0, self.norm.a1)
        ranges = ops.hwnc_gradient_range(*self._source, self._alpha, record.choice is not None)
        self._sample_range, self._channel_range = ranges[:2], ranges[2:4]
        self._doubt: Tensor | None = None
        self._zero = False
        self._look(ranges[4])
        lo, hi = self._channel_range
        self._moments: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._record_figures(gradient_range=lambda: hi.max() - lo.min())

    def _look(self, reach: Tensor) -> None:
        """See whether the gradient is finite, and zero; where a look has to wait, make its codes tell what it is.

        Args:
            reach: float32 (), from :func:`fqt_core.ops.hwnc_gradient_range`.
        """
        if waiting.at_once(reach):
            self._check(math.isfinite(reach))
            self._zero = bool(reach == 0)
            return
        finite = torch.isfinite(reach)
        self._doubt = torch.where(finite, 0.0, torch.nan)
        lo, hi, channel_lo, channel_hi = (
            torch.where(finite, bound, 0.0) for bound in (*self._sample_range, *self._channel_range)
        )
        self._sample_range, self._channel_range = (lo, hi), (channel_lo, channel_hi)

    def input_gradient(self) -> RowGradient | PendingRows:
        """dL/dx by way of the convolution, after the straight-through window; to make it, dL/dh is not needed."""
        record, product = self.record, self.record.block.product
        self._record_figures(window_share=lambda: share_of_bits(record.window, product.channels))
        if self._zero:
            rows = self._alpha.new_empty((*record.signs.shape[:2], 0, product.channels))
            return RowGradient(rows, _nobody(rows))
        quantizer = self.layer.method.input_gradient
        assert quantizer is not None
        q = self._quantize(self._sample_range, quantizer, Purpose.INPUT_SELECTION, Purpose.INPUT_ROUNDING)
        index, factor = q.selection.index, q.selection.factor
        self._record_figures(
            kept_samples=lambda: agp.number_kept(factor),
            kept_sample_probability_min=lambda: agp.least_probability(factor),
        )
        words, window = record.weight_words, record.window
        size, geometry = record.signs.shape[:2], (product.stride, product.padding, product.dilation)

        def make(samples: slice) -> Tensor:
            codes, scale, offset = q.codes[:, :, samples].contiguous(), q.scale[samples], q.offset[samples]
            part = index[samples].contiguous()
            return ops.hwnc_input_gradient(codes, words, channels, size, *geometry, scale, offset, window, part)

        channels = product.channels
        return PendingRows(make, 4 * size.numel() * channels, index, factor if q.selection.dense else None)

    def parameter_gradients(self, store: GradientStore) -> dict[Tensor, Tensor]:
        """Gradients of the convolution's and the normalisation's parameters.

        That of the weight goes to the layer instead, with its kept channels alone, if the optimiser takes it there: in
        the store, or as what it is made of.
        """
        norm, layer = self.record.block.norm, self.layer
        assert isinstance(norm, nn.BatchNorm2d)
        gradients: dict[Tensor, Tensor] = {norm.weight: self.norm.weight, norm.bias: self.norm.shift}
        if layer.bias is not None:
            gradients[layer.bias] = self.norm.bias
        if defers(self.record) and not self._zero:
            layer.add_compact_gradient(self._deferred())
            return gradients
        correlation, index = self._correlation()
        if layer.alpha is not None:
            gradients[layer.alpha] = self._scale_gradient(correlation, index)
        alpha = self._alpha[index].view(-1, 1, 1, 1)
        if layer.wants_compact_gradient:
            rows = torch.mul(correlation, alpha, out=store.take(correlation.shape))
            layer.add_compact_gradient(CompactGradient(rows, index))
        else:
            gradients[layer.weight] = CompactGradient(correlation.mul_(alpha), index).dense(layer.weight)
        return gradients

    def _correlation(self) -> tuple[Tensor, Tensor]:
        """dL/dW of the kept output channels before its α, float32 (k, kh, kw, C); their numbers."""
        product = self.record.block.product
        if self._zero:
            empty = self._alpha.new_empty((0, *product.kernel_size, product.channels))
            return empty, _nobody(empty)
        q = self._channel_codes()
        return _correlate(self.record.signs, q, product), q.selection.index

    def _deferred(self) -> DeferredGradient:
        """dL/dW of the kept output channels, to be made later; nothing of what is large but the codes stays for it."""
        signs, product, q = self.record.signs, self.record.block.product, self._channel_codes()
        alpha = self._alpha[q.selection.index]
        # A sum has as many terms as the product has pixels, of a code or of 1; each of three operations may round up.
        levels, terms = 255, q.codes.shape[0] * q.codes.shape[1] * signs.shape[2]
        largest = (q.scale.abs().double() * levels + q.offset.abs().double()) * alpha.abs().double().clamp(min=1)
        bound = (2.0 * terms * largest.sum()).to(torch.float32)

        def make() -> Tensor:
            return _correlate(signs, q, product).mul_(alpha.view(-1, 1, 1, 1))

        return DeferredGradient(make, q.selection.index, bound)

    def _channel_codes(self) -> _Scaled:
        quantizer = self.layer.method.weight_gradient
        assert quantizer is not None
        q = self._quantize(self._channel_range, quantizer, Purpose.WEIGHT_SELECTION, Purpose.WEIGHT_ROUNDING)
        factor = q.selection.factor
        self._record_figures(
            kept_channels=lambda: agp.number_kept(factor),
            kept_channel_probability_min=lambda: agp.least_probability(factor),
        )
        return q

    def _scale_gradient(self, correlation: Tensor, index: Tensor) -> Tensor:
        signs = ops.unpack_sign(self.record.weight_words[index], self.record.block.product.channels)
        gradient = torch.zeros_like(self._alpha)
        gradient[index] = learned_scale_gradient(correlation, signs.permute(0, 2, 3, 1))
        return gradient

    def _quantize(
        self, ranges: tuple[Tensor, Tensor], quantizer: GradientQuantizer, selection: Purpose, rounding: Purpose
    ) -> _Scaled:
        """Prune and quantise: samples for dL/dX, channels for dL/dW."""
        state, index = self.layer.state, self.layer.layer_index
        chosen = agp.select(*ranges, quantizer, state.key(index, selection))
        if quantizer.clip is not None:
            ranges = self._clipped(quantizer.groups == "sample", quantizer.clip)
        lo, hi, scale, offset = ops.kept_ranges(*ranges, chosen.index, chosen.factor, quantizer.bits)
        if self._doubt is not None:
            scale = scale + self._doubt
        key: PhiloxKey = state.key(index, rounding)
        tail: tuple[Any, ...] = (self.record.choice, self.record.size, chosen.index, lo, hi, quantizer.bits, *key)
        if quantizer.groups == "sample":
            codes = ops.hwnc_quantize_samples(*self._source, self._alpha, *tail)
        else:
            codes = ops.hwnc_quantize_channels(*self._source, *tail)
        return _Scaled(codes, chosen, scale, offset)

    def _clipped(self, of_samples: bool, clip: float) -> tuple[Tensor, Tensor]:
        """Ranges of samples or of channels, narrowed to mean ± clip·σ; the zeros that pooling leaves count."""
        height, width, samples, channels = self._source[1].shape
        pixels = self.record.size[0] * self.record.size[1]
        if self._moments is None:
            zeros = pixels - height * width
            self._moments = ops.hwnc_gradient_moments(
                *self._source, self._alpha, zeros, *self._sample_range, *self._channel_range
            )
        if of_samples:
            return narrowed(*self._sample_range, *self._moments[:2], pixels * channels, clip)
        return narrowed(*self._channel_range, *self._moments[2:], pixels * samples, clip)

    def _check(self, finite: Tensor | bool) -> None:
        if not finite:
            raise NonFiniteGradientError(self.layer.layer_name, self.layer.state.step)

    def _record_figures(self, **figures: Any) -> None:
        if self.layer.collect_statistics:
            self.layer.statistics.update({name: float(figure()) for name, figure in figures.items()})


def defers(record: Record) -> bool:
    """Whether the gradient of a block's weight is left for the optimiser to make, layer by layer.

    It is if the optimiser takes it there, and the codes that it is made of take at most half of its room.
    """
    layer, product = record.block.conv, record.block.product
    if not isinstance(layer, BinaryLayer) or not layer.wants_compact_gradient or layer.alpha is not None:
        return False
    codes = math.prod(record.size) * record.signs.shape[2]
    return 2 * codes <= 4 * math.prod(product.kernel_size) * product.channels


def _correlate(signs: Tensor, q: _Scaled, product: ConvProduct) -> Tensor:
    """dL/dW of the kept output channels before its α, float32 (k, kh, kw, C)."""
    geometry = (product.channels, product.kernel_size, product.stride, product.padding, product.dilation)
    return ops.hwnc_weight_gradient(signs, q.codes, *geometry, q.scale, q.offset)


def _nobody(like: Tensor) -> Tensor:
    """No samples, or channels: int64 (0,) on the device of ``like``."""
    return torch.zeros(0, dtype=torch.int64, device=like.device)
