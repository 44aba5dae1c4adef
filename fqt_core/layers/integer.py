"""Layers whose three products all multiply bytes: forward, dL/dX and dL/dW."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fqt_core.config import UnifiedInt8
from fqt_core.errors import NonFiniteGradientError
from fqt_core.layers.byte_product import channels_last, scaled_sums
from fqt_core.layers.quantized import OwnRate, QuantizedLayer, SimulatedLayer
from fqt_core.ops import waiting
from fqt_core.quantizers.byte_gradients import ByteGradient, UnifiedGradient, byte_gradient
from fqt_core.quantizers.symmetric import LEVELS, nearest, scale_of
from fqt_core.random import Purpose

_MOMENTUM = 0.1


class IntegerLayer(QuantizedLayer):
    """``Y = Δx · Δw · conv(qx, qw) + bias`` on int8 codes, symmetric, one scale per tensor.

    In training Δx is that of the batch. Evaluation uses a running mean of it, as batch normalisation keeps, so that a
    prediction does not depend on the images beside it.

    Buffers: ``activation_scale``, float32 (), the running mean, 0 before the first batch; those of ``gradient``, see
    :mod:`fqt_core.quantizers.byte_gradients`.
    """

    MARK: ClassVar[str] = "activation_scale"
    activation_scale: Tensor

    def __init__(self, module: nn.Conv2d | nn.Linear, **options: Any) -> None:
        super().__init__(module, **options)
        self.register_buffer("activation_scale", torch.zeros((), device=module.weight.device))
        quantizer = byte_gradient(self.method, module.weight.shape[0]).to(module.weight.device)
        self.gradient: ByteGradient | None = quantizer

    def apply_product(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`QuantizedLayer`."""
        return cast("Tensor", IntegerFunction.apply(x, weight, self.bias, self._scale(x), self))  # type: ignore[no-untyped-call]

    def own_rates(self, optimizer: str) -> Sequence[nn.Parameter]:
        """See :class:`QuantizedLayer`."""
        del optimizer
        return (self.weight,) if isinstance(self.method, UnifiedInt8) else ()

    def own_rate(self, parameter: Tensor) -> OwnRate:
        """See :class:`QuantizedLayer`."""
        del parameter
        quantizer = self.gradient
        assert isinstance(quantizer, UnifiedGradient)
        return OwnRate(lambda: quantizer.deviation, quantizer.rate_factor)

    def for_inference_(self) -> None:
        """Forget what only training needs."""
        self.gradient = None

    def simulated(self) -> nn.Module:
        """See :class:`QuantizedLayer`."""
        scale = scale_of(self.weight.detach())
        weight = nearest(self.weight.detach(), scale).to(torch.float32) * scale
        return SimulatedLayer(self, weight, self.activation_scale, (-LEVELS, LEVELS))

    @torch.no_grad()
    def _scale(self, x: Tensor) -> Tensor:
        mean = self.activation_scale
        if not self.training and bool(mean):
            return mean
        scale = scale_of(x.detach())
        if self.training:  # nothing waits for a GPU
            moved = torch.where(mean == 0, scale, mean.lerp(scale, _MOMENTUM))
            mean.copy_(torch.where(torch.isfinite(scale), moved, mean))
        return scale


class IntegerFunction(torch.autograd.Function):
    """The layer, straight-through. Saved for backward: bytes, and two scales."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scale: Tensor, layer: IntegerLayer) -> Tensor:
        """float (N, C, H, W) to float32 (N, D, H', W'), channels last in memory."""
        codes = nearest(channels_last(x.detach().float()), scale)
        weight_scale = scale_of(weight)
        weight_codes = nearest(channels_last(weight), weight_scale)
        ctx.layer = layer
        ctx.save_for_backward(codes, weight_codes, scale, weight_scale)
        return scaled_sums(layer.product.forward(codes, weight_codes), scale * weight_scale, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dY, float (N, D, H', W'), to the gradients of x, weight and bias.

        Raises:
            NonFiniteGradientError: the gradient holds an infinity or NaN.
        """
        codes, weight, scale, weight_scale = ctx.saved_tensors
        layer: IntegerLayer = ctx.layer
        need_x, need_weight, need_bias, _, _ = ctx.needs_input_grad
        g = gradient.float().contiguous()
        size, kernel = codes.shape[1:3], weight.shape[1:3]
        if g.numel() == 0:
            zeros = codes.new_zeros(codes.shape, dtype=torch.float32).permute(0, 3, 1, 2)
            return (
                zeros,
                torch.zeros_like(weight, dtype=torch.float32).permute(0, 3, 1, 2),
                g.sum((0, 2, 3)),
                None,
                None,
            )
        assert layer.gradient is not None
        finite = torch.isfinite(scale_of(g))
        if waiting.at_once(g):
            if not bool(finite):
                raise NonFiniteGradientError(layer.layer_name, layer.state.step)
        else:  # products with scales that are NaN tell it
            doubt = torch.where(finite, 0.0, torch.nan)
            scale, weight_scale = scale + doubt, weight_scale + doubt

        def key(purpose: Purpose) -> Any:
            return layer.state.key(layer.layer_index, purpose)

        for_input, for_weight = layer.gradient.quantize(g, layer.state, key)
        return (
            layer.product.input_gradient(for_input(), weight, weight_scale, size) if need_x else None,
            layer.product.weight_gradient(for_weight, codes, scale, kernel) if need_weight else None,
            g.sum((0, 2, 3)) if need_bias else None,
            None,
            None,
        )
