"""The autograd function of all binarised layers. Saved for backward: bits, and α; never a float activation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fqt_core import ops
from fqt_core.config import GradientQuantizer, MethodConfig
from fqt_core.errors import NonFiniteGradientError
from fqt_core.layers.pixel import input_product, weight_product
from fqt_core.layers.products import Product
from fqt_core.ops import waiting
from fqt_core.quantizers import pixel
from fqt_core.quantizers.agp import Selection, least_probability, number_kept
from fqt_core.quantizers.householder import HouseholderBlocks
from fqt_core.quantizers.scale import learned_scale_gradient, per_channel
from fqt_core.quantizers.scq import GroupRanges, QuantizedGradient, quantize
from fqt_core.quantizers.sign import pack_activations, share_of_bits
from fqt_core.random import PhiloxKey, PhiloxState, Purpose

_SAMPLES, _CHANNELS = 0, 1


@dataclass
class LayerContext:
    """What backward has to know of a layer besides tensors. ``statistics`` is ``None`` when nobody asks for them."""

    name: str
    index: int
    method: MethodConfig
    state: PhiloxState
    product: Product
    statistics: dict[str, float] | None = field(default=None)


class BinaryFunction(torch.autograd.Function):
    """``Y = α ⊙ product(sign(x), sign(weight)) + bias``, with the gradients of the layer's method."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,  # noqa: ARG004 - takes the gradient
        weight_signs: Tensor,
        alpha: Tensor | None,
        bias: Tensor | None,
        layer: LayerContext,
    ) -> Tensor:
        """float (N, C, *) to float32 (N, D, *'); ``weight_signs`` are those of ``weight``, packed."""
        signs, window = pack_activations(x, window=x.requires_grad)
        ctx.layer = layer
        ctx.save_for_backward(signs, window, weight_signs, alpha)
        return affine(layer.product.forward(signs, weight_signs), alpha, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dY, float (N, D, *'), to the gradients of x, weight, alpha and bias.

        Raises:
            NonFiniteGradientError: the gradient holds an infinity or NaN, or a range that float32 cannot hold.
        """
        signs, window, weight_signs, alpha = ctx.saved_tensors
        layer: LayerContext = ctx.layer
        need_x, need_weight, _, need_alpha, need_bias, _ = ctx.needs_input_grad
        backward = LayerBackward(layer, signs, weight_signs, alpha, gradient.float().contiguous())
        grad_x = grad_weight = grad_alpha = grad_bias = None
        if need_x:
            grad_x = backward.input_gradient()
            if layer.statistics is not None:
                layer.statistics["window_share"] = share_of_bits(window, layer.product.channels)
            grad_x = ops.apply_window(grad_x, window)
        if need_weight or need_alpha:
            correlation = backward.weight_correlation()
            if need_alpha:
                unpacked = ops.unpack_sign(weight_signs, layer.product.weight_channels)
                grad_alpha = learned_scale_gradient(correlation, unpacked)
            if need_weight:
                grad_weight = correlation if alpha is None else per_row(alpha, correlation.dim()) * correlation
        if need_bias:
            grad_bias = gradient.transpose(0, 1).flatten(1).sum(1)
        return grad_x, grad_weight, None, grad_alpha, grad_bias, None


def affine(product: Tensor, alpha: Tensor | None, bias: Tensor | None) -> Tensor:
    """``α ⊙ product + bias`` per channel: int32 (N, D, *) to float32."""
    result = product.to(torch.float32)
    if alpha is not None:
        result.mul_(per_channel(alpha, result.dim()))
    if bias is not None:
        result.add_(per_channel(bias, result.dim()))
    return result


def per_row(alpha: Tensor, dim: int) -> Tensor:
    """View α (D,) so that it broadcasts over dimension 0 of a tensor with ``dim`` dimensions."""
    return alpha.view(-1, *([1] * (dim - 1)))


class LayerBackward:
    """One backward pass of one layer: both products of its method, before window and α of the weight.

    Args:
        layer: the layer.
        signs: sign words of its input, (N, *, ceil(C / 64)).
        weight_signs: sign words of its weight.
        alpha: its scale, float32 (D,), or ``None``.
        gradient: dL/dY, float32 (N, D, *), contiguous.

    Raises:
        NonFiniteGradientError: see :meth:`BinaryFunction.backward`.
    """

    def __init__(
        self, layer: LayerContext, signs: Tensor, weight_signs: Tensor, alpha: Tensor | None, gradient: Tensor
    ) -> None:
        self.layer = layer
        self.signs = signs
        self.weight_signs = weight_signs
        self.alpha = alpha
        self.gradient = gradient
        self.zero = gradient.numel() == 0
        if not self.zero:
            ranges = self._scan(gradient, _SAMPLES)
            self.zero = waiting.at_once(gradient) and ranges.is_zero()
            if layer.statistics is not None:
                self._record(gradient_range=float(ranges.hi.max() - ranges.lo.min()))

    def input_gradient(self) -> Tensor:
        """dL/dX before the window, float32 (N, C, *)."""
        product, samples = self.layer.product, self.signs.shape[0]
        shape = (samples, product.channels, *self.signs.shape[1:-1])
        if self.zero:
            return self.gradient.new_zeros(shape)
        g = self.gradient if self.alpha is None else self.gradient * per_channel(self.alpha, self.gradient.dim())
        quantizer = self.layer.method.input_gradient
        if quantizer is None:
            return product.float_input_gradient(g, self.weight_signs, self.signs)
        if quantizer.groups == "pixel":
            return self._pixel_input_gradient(g, quantizer)
        blocks = self._blocks(g) if quantizer.groups == "householder" else None
        g = g if blocks is None else blocks.mix(g)
        dim = _CHANNELS if quantizer.groups == "channel" else _SAMPLES
        q = self._quantize(g, dim, quantizer, Purpose.INPUT_SELECTION, Purpose.INPUT_ROUNDING)
        if q.dim == _CHANNELS:  # the scale stands inside the sum: simulated
            return product.float_input_gradient(self._spread(q), self.weight_signs, self.signs)
        self._record_kept("sample", q.factor)
        partial = product.input_gradient(q.codes, self.weight_signs, self.signs)
        constant = product.input_constant(self.weight_signs, self.signs, self.gradient)
        rows = _scatter(q.combine(partial, constant), q.index, samples)
        return rows if blocks is None else blocks.separate(rows)

    def weight_correlation(self) -> Tensor:
        """dL/dW before its α, float32 (D, C / groups, *)."""
        product, outputs = self.layer.product, self.weight_signs.shape[0]
        if self.zero:
            return self.gradient.new_zeros((outputs, product.weight_channels, *self.weight_signs.shape[1:-1]))
        quantizer = self.layer.method.weight_gradient
        if quantizer is None:
            return product.float_weight_gradient(self.gradient, self.signs)
        if quantizer.groups == "pixel":
            return self._pixel_weight_correlation(quantizer)
        dim = _SAMPLES if quantizer.groups == "sample" else _CHANNELS
        q = self._quantize(self.gradient, dim, quantizer, Purpose.WEIGHT_SELECTION, Purpose.WEIGHT_ROUNDING)
        if q.dim == _SAMPLES:  # the scale stands inside the sum: simulated
            return product.float_weight_gradient(q.dequantize(), self.signs[q.index])
        self._record_kept("channel", q.factor)
        partial = product.weight_gradient(q.codes, q.index, self.signs)
        constant = product.weight_constant(q.index, self.signs, self.gradient)
        return _scatter(q.combine(partial, constant), q.index, outputs)

    def _pixel_input_gradient(self, g: Tensor, quantizer: GradientQuantizer) -> Tensor:
        selection = self._select_rows(g, quantizer, Purpose.INPUT_SELECTION)
        keys = self._key(Purpose.INPUT_ROUNDING), self._key(Purpose.INPUT_DITHER_SIGN)
        codes = pixel.quantize_for_input(g, selection, quantizer, *keys)
        self._record_kept("input_row", selection.factor)
        return input_product(codes, quantizer.bits, selection, self.layer.product, self.weight_signs, self.signs)

    def _pixel_weight_correlation(self, quantizer: GradientQuantizer) -> Tensor:
        selection = self._select_rows(self.gradient, quantizer, Purpose.WEIGHT_SELECTION)
        keys = self._key(Purpose.WEIGHT_ROUNDING), self._key(Purpose.WEIGHT_DITHER_PHASE)
        codes = pixel.quantize_for_weight(self.gradient, selection, quantizer, *keys)
        self._record_kept("weight_row", selection.factor)
        return weight_product(codes, quantizer.bits, selection, self.layer.product, self.signs)

    def _select_rows(self, g: Tensor, quantizer: GradientQuantizer, purpose: Purpose) -> Selection:
        norms = pixel.row_norms(g)
        finite = torch.isfinite(norms).all()
        if not waiting.at_once(norms):
            selection = pixel.select(torch.where(finite, norms, 0.0), quantizer, self._key(purpose))
            return replace(selection, factor=torch.where(finite, selection.factor, torch.nan))
        if not bool(finite):
            raise NonFiniteGradientError(self.layer.name, self.layer.state.step)
        return pixel.select(norms, quantizer, self._key(purpose))

    def _key(self, purpose: Purpose) -> PhiloxKey:
        return self.layer.state.key(self.layer.index, purpose)

    def _scan(self, g: Tensor, dim: int) -> GroupRanges:
        ranges = GroupRanges.scan(g, dim)
        if not waiting.at_once(g):
            return ranges.unseen()
        if not ranges.is_finite():
            raise NonFiniteGradientError(self.layer.name, self.layer.state.step)
        return ranges

    def _blocks(self, g: Tensor) -> HouseholderBlocks:
        ranges = self._scan(g, _SAMPLES)
        return HouseholderBlocks.of(ranges.hi - ranges.lo)

    def _quantize(
        self, g: Tensor, dim: int, quantizer: GradientQuantizer, selection: Purpose, rounding: Purpose
    ) -> QuantizedGradient:
        ranges = self._scan(g, dim)
        if quantizer.groups == "tensor":
            ranges = ranges.joined()
        return quantize(g, ranges, quantizer, self._key(selection), self._key(rounding))

    def _spread(self, q: QuantizedGradient) -> Tensor:
        """Kept channels back in their places among all channels, zeros elsewhere."""
        result = torch.zeros_like(self.gradient)
        result[:, q.index] = q.dequantize()
        return result

    def _record(self, **figures: float) -> None:
        """Note figures, whose computation may wait for a GPU: to be called if there are ``statistics``."""
        assert self.layer.statistics is not None
        self.layer.statistics.update(figures)

    def _record_kept(self, what: str, factor: Tensor) -> None:
        """Note how many groups were kept, and the least probability among them."""
        if self.layer.statistics is not None:
            count = {f"kept_{what}s": number_kept(factor)}
            self._record(**count, **{f"kept_{what}_probability_min": least_probability(factor)})


def _scatter(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """Rows (k, *) into their places among ``count`` rows, zeros elsewhere; without a copy if all are there."""
    if len(index) == count:
        return rows
    return rows.new_zeros((count, *rows.shape[1:])).index_copy_(0, index, rows)
