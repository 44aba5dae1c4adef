"""The backward pass of one block: from dL/dh to dL/dx and the gradients of its parameters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.fused.codes import gradient_codes
from fqt_core.fused.forward import Record
from fqt_core.fused.rows import PendingRows, RowGradient
from fqt_core.fused.store import GradientStore
from fqt_core.layers import BinaryConv2d, BinaryLayer, CompactGradient, DeferredGradient
from fqt_core.quantizers import agp
from fqt_core.quantizers.scale import learned_scale_gradient
from fqt_core.quantizers.sign import share_of_bits

_EVERYONE = slice(None)


class BlockGradient:
    """One backward pass of one block. Of dL/dh nothing is kept but codes.

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
        self.alpha = g.rows.new_ones(g.rows.shape[3]) if record.alpha is None else record.alpha
        self.codes = gradient_codes(record, conv, g, self.alpha)
        self._record_figures(gradient_range=self.codes.span)

    def input_gradient(self) -> RowGradient | PendingRows:
        """dL/dx by way of the convolution, after the straight-through window."""
        record, product, q = self.record, self.record.block.product, self.codes.samples
        self._record_figures(window_share=lambda: share_of_bits(record.window, product.channels))
        if q is None:
            rows = self.alpha.new_empty((*record.signs.shape[:2], 0, product.channels))
            return RowGradient(rows, _nobody(rows))
        index, factor = q.selection.index, q.selection.factor
        self._record_figures(
            kept_samples=lambda: agp.number_kept(factor),
            kept_sample_probability_min=lambda: agp.least_probability(factor),
        )
        words, window, channels = record.weight_words, record.window, product.channels
        size, geometry = record.signs.shape[:2], (product.stride, product.padding, product.dilation)

        def make(samples: slice) -> Tensor:
            codes, scale, offset, part = q.codes, q.scale, q.offset, index
            if samples != _EVERYONE:
                codes, part = codes[:, :, samples].contiguous(), index[samples].contiguous()
                scale, offset = scale[samples], offset[samples]
            return ops.hwnc_input_gradient(codes, words, channels, size, *geometry, scale, offset, window, part)

        return PendingRows(make, 4 * size.numel() * channels, index, factor if q.selection.dense else None)

    def parameter_gradients(self, store: GradientStore, *, deferred: bool) -> dict[Tensor, Tensor]:
        """Gradients of the convolution's and the normalisation's parameters.

        That of the weight goes to the layer instead, with its kept channels alone, if the optimiser takes it there: in
        the store, or ``deferred`` (see :func:`defers`) as what it is made of.
        """
        norm, layer, q = self.record.block.norm, self.layer, self.codes.channels
        assert isinstance(norm, nn.BatchNorm2d)
        gradients: dict[Tensor, Tensor] = {norm.weight: self.codes.weight, norm.bias: self.codes.shift}
        if layer.bias is not None:
            gradients[layer.bias] = self.codes.bias
        if q is not None:
            factor = q.selection.factor
            self._record_figures(
                kept_channels=lambda: agp.number_kept(factor),
                kept_channel_probability_min=lambda: agp.least_probability(factor),
            )
            if deferred:
                made = q.codes, q.selection.index, q.scale, q.offset
                layer.add_compact_gradient(deferred_gradient(self.record, self.alpha, *made))
                return gradients
        correlation, index = self._correlation()
        if layer.alpha is not None:
            gradients[layer.alpha] = self._scale_gradient(correlation, index)
        alpha = self.alpha[index].view(-1, 1, 1, 1)
        if layer.wants_compact_gradient:
            rows = torch.mul(correlation, alpha, out=store.take(correlation.shape))
            layer.add_compact_gradient(CompactGradient(rows, index))
        else:
            gradients[layer.weight] = CompactGradient(correlation.mul_(alpha), index).dense(layer.weight)
        return gradients

    def _correlation(self) -> tuple[Tensor, Tensor]:
        """dL/dW of the kept output channels before its α, float32 (k, kh, kw, C); their numbers."""
        product, q = self.record.block.product, self.codes.channels
        if q is None:
            empty = self.alpha.new_empty((0, *product.kernel_size, product.channels))
            return empty, _nobody(empty)
        geometry = (product.channels, product.kernel_size, product.stride, product.padding, product.dilation)
        rows = ops.hwnc_weight_gradient(self.record.signs, q.codes, *geometry, q.scale, q.offset)
        return rows, q.selection.index

    def _scale_gradient(self, correlation: Tensor, index: Tensor) -> Tensor:
        signs = ops.unpack_sign(self.record.weight_words[index], self.record.block.product.channels)
        gradient = torch.zeros_like(self.alpha)
        gradient[index] = learned_scale_gradient(correlation, signs.permute(0, 2, 3, 1))
        return gradient

    def _record_figures(self, **figures: Any) -> None:
        if self.layer.collect_statistics:
            self.layer.statistics.update({name: float(figure()) for name, figure in figures.items()})


def defers(record: Record) -> bool:
    """Whether the gradient of a block's weight is left for the optimiser to make.

    It is if the optimiser takes it there, and the codes that it is made of take at most half of its room, or half a
    byte for each output of the block, of which the forward pass kept more.
    """
    layer, product = record.block.conv, record.block.product
    if not isinstance(layer, BinaryLayer) or not layer.wants_compact_gradient or layer.alpha is not None:
        return False
    quantizer, outputs = layer.quantizers[1], layer.weight.shape[0]
    if quantizer is not None and 2 * agp.taken_count(outputs, quantizer, record.signs) <= outputs:
        return True
    codes = math.prod(record.size) * record.signs.shape[2]
    return 2 * codes <= 4 * math.prod(product.kernel_size) * product.channels


def deferred_gradient(
    record: Record, alpha: Tensor, codes: Tensor, index: Tensor, scale: Tensor, offset: Tensor
) -> DeferredGradient:
    """dL/dW of the kept output channels, to be made later; nothing of what is large but the codes stays for it.

    Args:
        record: of the forward pass.
        alpha: float32 (D,), the layer's scale.
        codes, index, scale, offset: of channels (:class:`~fqt_core.fused.codes.GroupCodes`).
    """
    product = record.block.product
    geometry = (product.kernel_size, product.stride, product.padding, product.dilation)
    return DeferredGradient(
        record.signs, codes, scale, offset, alpha, channels=product.channels, geometry=geometry, index=index
    )


def _nobody(like: Tensor) -> Tensor:
    """No samples, or channels: int64 (0,) on the device of ``like``."""
    return torch.zeros(0, dtype=torch.int64, device=like.device)
