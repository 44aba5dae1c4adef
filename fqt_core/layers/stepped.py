"""Layers with learned step sizes (LSQ): forward products of integers, gradients in full precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fqt_core.config import LgLsq, Lsq
from fqt_core.layers.byte_product import channels_last, scaled_sums
from fqt_core.layers.quantized import OwnRate, QuantizedLayer, SimulatedLayer
from fqt_core.ops import convolution
from fqt_core.quantizers.steps import Codes, StepQuantizer, first_step

_BYTE_MOST = 127


class SteppedLayer(QuantizedLayer):
    """``Y = sx · sw · conv(qx, qw) + bias``, where both steps are learned (:mod:`fqt_core.quantizers.steps`).

    Weights are signed. Activations are unsigned unless the first batch holds a negative one.

    Parameters: ``weight_step`` and ``activation_step``, float32 (), 0 until the first batch.
    Buffers: ``signed_activations``, float32 (): 0 or 1.
    """

    MARK: ClassVar[str] = "activation_step"
    signed_activations: Tensor

    def __init__(self, module: nn.Conv2d | nn.Linear, **options: Any) -> None:
        super().__init__(module, **options)
        device = module.weight.device
        self.weight_step = nn.Parameter(torch.zeros((), device=device))
        self.activation_step = nn.Parameter(torch.zeros((), device=device))
        self.register_buffer("signed_activations", torch.zeros((), device=device))
        self._seen: tuple[Tensor, int] | None = None
        self._signed = False

    @property
    def _method(self) -> Lsq | LgLsq:
        assert isinstance(self.method, Lsq | LgLsq)
        return self.method

    def _sharpness(self) -> float:
        return self._method.sharpness if isinstance(self._method, LgLsq) else 0.0

    def quantizers(self) -> tuple[StepQuantizer, StepQuantizer]:
        """Of activations and of weights."""
        if not self._is_seen():
            self._signed = bool(self.signed_activations)
        activations = StepQuantizer(Codes.of(self._method.activation_bits, signed=self._signed), self._sharpness())
        return activations, StepQuantizer(Codes.of(self._method.weight_bits, signed=True), self._sharpness())

    def apply_product(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`QuantizedLayer`."""
        x = x.float()
        self._begin(x.detach())
        steps = self.activation_step, self.weight_step
        return cast("Tensor", SteppedFunction.apply(x, weight, self.bias, *steps, self))  # type: ignore[no-untyped-call]

    def own_rates(self, optimizer: str) -> Sequence[nn.Parameter]:
        """Adam moves any parameter by about the learning rate, so a step's is relative to the step."""
        return (self.weight_step, self.activation_step) if optimizer == "adam" else ()

    def own_rate(self, parameter: Tensor) -> OwnRate:
        """See :class:`QuantizedLayer`."""
        return OwnRate(parameter.detach, abs)

    def simulated(self) -> nn.Module:
        """See :class:`QuantizedLayer`."""
        activations, weights = self.quantizers()
        step = self.weight_step.detach().abs()
        weight = weights.codes_of(self.weight.detach(), step) * step
        codes = activations.codes
        return SimulatedLayer(self, weight, self.activation_step.detach().abs(), (codes.lowest, codes.highest))

    @torch.no_grad()
    def _begin(self, x: Tensor) -> None:
        """Choose steps that are not chosen yet. Waits for a GPU, once: what is chosen is remembered."""
        if self._is_seen():
            return
        if x.numel() and not bool(self.activation_step):
            self.signed_activations.fill_(float(bool((x < 0).any())))
            self.activation_step.fill_(first_step(x, self.quantizers()[0].codes))
        if not bool(self.weight_step):
            self.weight_step.fill_(first_step(self.weight, self.quantizers()[1].codes))
        if x.numel():
            self.quantizers()
            self._seen = self.signed_activations, self.signed_activations._version

    def _is_seen(self) -> bool:
        """Whether steps are chosen and ``_signed`` is what the buffer holds, which nobody wrote to since."""
        if self._seen is None:
            return False
        buffer, version = self._seen
        return buffer is self.signed_activations and version == buffer._version


class SteppedFunction(torch.autograd.Function):
    """The layer, with LSQ's gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation_step: Tensor,
        weight_step: Tensor,
        layer: SteppedLayer,
    ) -> Tensor:
        """float32 (N, C, H, W) to float32 (N, D, H', W'), channels last in memory."""
        activations, weights = layer.quantizers()
        steps = activation_step.abs(), weight_step.abs()
        ctx.layer, ctx.quantizers = layer, (activations, weights)
        ctx.save_for_backward(x, weight, activation_step, weight_step)
        # Unsigned codes of 8 bits go as bytes less 128; the product with 128 is a constant of the output channel.
        shift = 128 if activations.codes.highest > _BYTE_MOST else 0
        codes = (activations.codes_of(channels_last(x), steps[0]) - shift).to(torch.int8)
        weight_codes = weights.codes_of(channels_last(weight), steps[1]).to(torch.int8)
        y = layer.product.forward(codes, weight_codes, fill=-shift)
        if shift:
            y += shift * weight_codes.sum((1, 2, 3), dtype=torch.int32)
        return scaled_sums(y, steps[0] * steps[1], bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dY, float32 (N, D, H', W'), to the gradients of x, weight, bias and both steps."""
        x, weight, activation_step, weight_step = ctx.saved_tensors
        layer: SteppedLayer = ctx.layer
        activations, weights = ctx.quantizers
        around = layer.product.stride, layer.product.padding, layer.product.dilation, 1
        quantized = activations.codes_of(x, activation_step.abs()) * activation_step.abs()
        quantized_weight = weights.codes_of(weight, weight_step.abs()) * weight_step.abs()
        dx = convolution.input_gradient(x.shape, quantized_weight, gradient, *around)
        dw = convolution.weight_gradient(quantized, weight.shape, gradient, *around)
        grad_x, grad_activation_step = activations.gradients(x, activation_step, dx, x[0].numel() if len(x) else 1)
        grad_weight, grad_weight_step = weights.gradients(weight, weight_step, dw, weight.numel())
        grad_bias = gradient.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, grad_activation_step, grad_weight_step, None
