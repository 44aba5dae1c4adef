"""Taps on a network's binarised layers: they show what passes by in a forward and in a backward pass.

Hooked modules run one by one, never as a fused chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fqt_core.config import MethodConfig
from fqt_core.layers import BinaryLayer, BinaryLinear
from fqt_core.layers.function import LayerBackward, LayerContext, per_row
from fqt_core.quantizers.scale import per_channel
from fqt_core.quantizers.sign import pack_activations
from fqt_core.random import PhiloxState

Receive = Callable[[Tensor], Tensor | None]
"""Is shown a gradient; what it gives goes on in its place, unless it is ``None``."""


class LayerVisit:
    """Is shown what passes by one layer, and can do the layer's backward pass over again.

    A layer that is used several times in one forward pass is seen at its last use.

    Args:
        layer: the layer.
        state: what random numbers are drawn from.
    """

    def __init__(self, layer: BinaryLayer, state: PhiloxState) -> None:
        self.layer = layer
        self.window: Tensor | None = None
        self._state = state
        self._weight_signs = layer.packed_weight()
        alpha = layer.scale()
        self._alpha = None if alpha is None else alpha.detach()
        self._signs: Tensor | None = None

    def see_input(self, x: Tensor) -> None:
        """The layer's input, (N, C, *) or, of a linear layer, (*, C)."""
        self._signs, self.window = pack_activations(self.rows(x.detach()), window=x.requires_grad)

    def see_output_gradient(self, gradient: Tensor) -> Tensor | None:
        """dL/dY, of the shape of the layer's output."""
        raise NotImplementedError

    def see_input_gradient(self, gradient: Tensor) -> Tensor | None:
        """dL/dX by way of this layer alone, after the window; comes after the gradient of the output."""
        raise NotImplementedError

    def rows(self, x: Tensor) -> Tensor:
        """What passes by a linear layer, (*, C), as (N, C); of a convolution as it is."""
        return x.flatten(0, -2) if isinstance(self.layer, BinaryLinear) else x

    def backward(self, gradient: Tensor, method: MethodConfig) -> LayerBackward:
        """A backward pass from dL/dY as :meth:`rows`, float32, contiguous."""
        layer = self.layer
        context = LayerContext(layer.layer_name, layer.layer_index, method, self._state, layer.product)
        return LayerBackward(context, self._seen(), self._weight_signs, self._alpha, gradient)

    def weight_gradient(self, backward: LayerBackward) -> Tensor:
        """dL/dΘ of such a pass, float32 (D, C / groups, *)."""
        return self._scaled(backward.weight_correlation())

    def exact_weight_gradient(self, gradient: Tensor) -> Tensor:
        """dL/dΘ of dL/dY in full precision."""
        return self._scaled(self.layer.product.float_weight_gradient(gradient, self._seen()))

    def scaled_gradient(self, gradient: Tensor) -> Tensor:
        """α ⊙ dL/dY: what is quantised for dL/dX."""
        return gradient if self._alpha is None else gradient * per_channel(self._alpha, gradient.dim())

    def _scaled(self, correlation: Tensor) -> Tensor:
        return correlation if self._alpha is None else per_row(self._alpha, correlation.dim()) * correlation

    def _seen(self) -> Tensor:
        assert self._signs is not None
        return self._signs


class _Tap(torch.autograd.Function):
    """The identity, whose gradient is shown to somebody; a path to ``anchor``, so that autograd comes by."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, receive: Receive) -> Tensor:  # noqa: ARG004
        """``x`` itself."""
        ctx.receive = receive
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient itself, or what came in its place."""
        instead = ctx.receive(gradient)
        return gradient if instead is None else instead, None, None


@contextmanager
def tapped(visits: Iterable[LayerVisit], anchor: Tensor) -> Iterator[None]:
    """Put taps before and behind each layer for the forward pass in the ``with`` block, and its backward passes.

    ``anchor``: a leaf that wants a gradient; asking for it makes a backward pass go by all taps.
    """

    def tap(x: Tensor, receive: Receive) -> Tensor:
        return cast("Tensor", _Tap.apply(x, anchor, receive))  # type: ignore[no-untyped-call]

    def before(visit: LayerVisit) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            visit.see_input(inputs[0])
            return (tap(inputs[0], visit.see_input_gradient),) if inputs[0].requires_grad else inputs

        return hook

    def behind(visit: LayerVisit) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return tap(output, visit.see_output_gradient)

        return hook

    with ExitStack() as stack:
        for visit in visits:
            stack.callback(visit.layer.register_forward_pre_hook(before(visit)).remove)
            stack.callback(visit.layer.register_forward_hook(behind(visit)).remove)
        yield


@contextmanager
def gradients_of(
    visits: Iterable[LayerVisit], state: PhiloxState, method: MethodConfig | None = None
) -> Iterator[None]:
    """Let backward passes be of ``method`` (``None``: of the layers' own), draw from ``state``, and note nothing."""
    with ExitStack() as stack:
        for visit in visits:
            layer = visit.layer
            stack.callback(_restore, layer, layer.method, layer.state, layer.collect_statistics)
            layer.state, layer.collect_statistics = state, False
            if method is not None:
                layer.method = method
        yield


def _restore(layer: BinaryLayer, method: MethodConfig, state: PhiloxState, collect: bool) -> None:
    layer.method, layer.state, layer.collect_statistics = method, state, collect


def stand_ins(model: nn.Module, layers: Mapping[str, BinaryLayer]) -> dict[str, Tensor]:
    """For a forward pass that leaves no trace: buffers that may be written to, and the weights of binarised layers
    as tensors that autograd asks no gradients for."""
    found = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, layer in layers.items():
        prefix = f"{name}." if name else ""
        found |= {f"{prefix}{key}": p.detach() for key, p in layer.named_parameters(recurse=False)}
    return found
