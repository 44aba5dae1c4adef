"""Measures the noise that gradient quantisation puts into each binarised layer's products, on a few images.

Two forward and backward passes of the network as it trains (batch normalisation with the probe's own statistics, which
are then forgotten):

- the **exact** one, with all gradients in full precision, gives each layer its G = dL/dY and the exact dL/dX and dL/dΘ.
  Quantising *this* G a few times and multiplying gives the layer's own, **local** noise: which layer is to blame.
- the **noisy** one, with the method's quantisers everywhere, gone through backward a few times, gives the
  **accumulated** noise: what reaches a layer after all those above it.

Nothing of training is touched: parameters get no gradient, running statistics no update, statistics of the layers no
entry, and the random numbers are sequences of their own (see :data:`fqt_core.random.PROBE`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn import functional

from fqt_core import ops
from fqt_core.config import MethodConfig, Qat
from fqt_core.data.counters import Purpose
from fqt_core.layers import BinaryLayer, BinaryLinear
from fqt_core.layers.function import LayerBackward, LayerContext, per_row
from fqt_core.quantizers.sign import pack_activations
from fqt_core.random import PhiloxState
from fqt_core.training.noise import GradientNoise
from fqt_core.training.seeding import seeded

DRAWS = 2
"""Independent draws, of local and of accumulated noise each."""

_EXACT = Qat()

Receive = Callable[[Tensor], None]


def is_quantised(layer: BinaryLayer) -> bool:
    """Whether a layer's method quantises any of its gradients."""
    return layer.method.input_gradient is not None or layer.method.weight_gradient is not None


class GradientProbe:
    """Probes one network.

    Args:
        model: gives logits, float (n, classes), for images.
        layers: its binarised layers by name.
    """

    def __init__(self, model: nn.Module, layers: Mapping[str, BinaryLayer]) -> None:
        self._model = model
        self._layers = layers

    def measure(self, images: Tensor, labels: Tensor, *, seed: int, step: int) -> dict[str, dict[str, float]]:
        """Figures of :mod:`fqt_core.training.noise` for ``dx``, ``dw``, ``accumulated_dx`` and ``accumulated_dw``.

        A layer whose gradient is zero on these images has none; nor has a layer whose input wants no gradient for
        ``dx``. Without any quantised layer nothing is computed: all noise is zero.

        Args:
            images: float (n, c, h, w), preprocessed, on the network's device; best different ones of one batch.
            labels: int64 (n,).
            seed, step: of the run; they key the random numbers.

        Raises:
            NonFiniteGradientError: the quantisers met an infinity or NaN.
        """
        if not any(is_quantised(layer) for layer in self._layers.values()):
            return {name: _noiseless() for name in self._layers}
        state = PhiloxState(seed=seed, step=step, probe=True)
        visits = {name: _Visit(layer, state) for name, layer in self._layers.items()}
        self._pass(images, labels, state, visits, exact=True)
        self._pass(images, labels, state, visits, exact=False)
        return {name: visit.figures() for name, visit in visits.items()}

    def _pass(
        self, images: Tensor, labels: Tensor, state: PhiloxState, visits: Mapping[str, _Visit], *, exact: bool
    ) -> None:
        anchor = torch.zeros((), device=images.device, requires_grad=True)
        with (
            _gradients_of(visits.values(), state, exact=exact),
            _tapped(visits.values(), anchor),
            seeded(state.seed, Purpose.PROBE, state.step, images.device),
            torch.enable_grad(),
        ):
            logits = functional_call(self._model, self._stand_ins(), (images,))
            loss = functional.cross_entropy(logits, labels)
            for draw in range(1 if exact else DRAWS):
                state.stream = DRAWS + draw  # below it are the local draws
                torch.autograd.grad(loss, anchor, retain_graph=draw + 1 < DRAWS and not exact, allow_unused=True)

    def _stand_ins(self) -> dict[str, Tensor]:
        """Buffers that may be written to, and weights that autograd does not ask gradients for."""
        found = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        for name, layer in self._layers.items():
            prefix = f"{name}." if name else ""
            found |= {f"{prefix}{key}": p.detach() for key, p in layer.named_parameters(recurse=False)}
        return found


class _Visit:
    """One layer in one probe: takes the gradients that pass by, and sums up their noise.

    A layer that is used several times in one forward pass is seen at its last use.
    """

    def __init__(self, layer: BinaryLayer, state: PhiloxState) -> None:
        self.layer = layer
        self.exact = True
        self._state = state
        self._context = LayerContext(layer.layer_name, layer.layer_index, layer.method, state, layer.product)
        self._weight_signs = layer.packed_weight()
        alpha = layer.scale()
        self._alpha = None if alpha is None else alpha.detach()
        self._signs: Tensor | None = None
        self._window: Tensor | None = None
        self._gradient: Tensor | None = None
        self._noise: dict[str, GradientNoise] = {}
        self._local: dict[str, float] = {}

    def see_input(self, x: Tensor) -> None:
        """The layer's input, (N, C, *) or, of a linear layer, (*, C)."""
        rows = x.detach().flatten(0, -2) if isinstance(self.layer, BinaryLinear) else x
        self._signs, self._window = pack_activations(rows, window=x.requires_grad)

    def see_output_gradient(self, gradient: Tensor) -> None:
        """Take dL/dY."""
        rows = gradient.flatten(0, -2) if isinstance(self.layer, BinaryLinear) else gradient
        rows = rows.detach().float().contiguous()
        assert self._signs is not None
        if not self.exact:
            self._add("dw", self._weight_gradient(self._backward(rows)))
            return
        correlation = self._context.product.float_weight_gradient(rows, self._signs)
        self._noise["dw"] = GradientNoise(self._scaled(correlation))
        self._gradient = rows
        if self._window is None:
            self._draw_locally()

    def see_input_gradient(self, gradient: Tensor) -> None:
        """Take dL/dX by way of this layer alone, after the window; comes after the gradient of the output."""
        rows = gradient.flatten(0, -2) if isinstance(self.layer, BinaryLinear) else gradient
        if not self.exact:
            self._add("dx", rows)
            return
        self._noise["dx"] = GradientNoise(rows)
        self._draw_locally()

    def figures(self) -> dict[str, float]:
        """All figures; only after both passes."""
        found = dict(self._local)
        for name, noise in self._noise.items():
            found |= noise.figures(f"accumulated_{name}")
        return found

    def _draw_locally(self) -> None:
        """Quantise the exact gradient a few times."""
        gradient, self._gradient = self._gradient, None
        assert gradient is not None
        for draw in range(DRAWS):
            self._state.stream = draw
            backward = self._backward(gradient)
            if self._window is not None:
                self._add("dx", ops.apply_window(backward.input_gradient(), self._window))
            self._add("dw", self._weight_gradient(backward))
        for name, noise in self._noise.items():
            self._local |= noise.figures(name)
            noise.restart()

    def _add(self, name: str, draw: Tensor) -> None:
        if name in self._noise:
            self._noise[name].add(draw)

    def _backward(self, gradient: Tensor) -> LayerBackward:
        assert self._signs is not None
        return LayerBackward(self._context, self._signs, self._weight_signs, self._alpha, gradient)

    def _weight_gradient(self, backward: LayerBackward) -> Tensor:
        return self._scaled(backward.weight_correlation())

    def _scaled(self, correlation: Tensor) -> Tensor:
        return correlation if self._alpha is None else per_row(self._alpha, correlation.dim()) * correlation


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
        """The gradient itself."""
        ctx.receive(gradient)
        return gradient, None, None


@contextmanager
def _tapped(visits: Iterable[_Visit], anchor: Tensor) -> Iterator[None]:
    """Put taps before and behind each layer. Hooked modules run one by one, never as a fused chain."""

    def tap(x: Tensor, receive: Receive) -> Tensor:
        return cast("Tensor", _Tap.apply(x, anchor, receive))  # type: ignore[no-untyped-call]

    def before(visit: _Visit) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            visit.see_input(inputs[0])
            return (tap(inputs[0], visit.see_input_gradient),) if inputs[0].requires_grad else inputs

        return hook

    def behind(visit: _Visit) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return tap(output, visit.see_output_gradient)

        return hook

    with ExitStack() as stack:
        for visit in visits:
            stack.callback(visit.layer.register_forward_pre_hook(before(visit)).remove)
            stack.callback(visit.layer.register_forward_hook(behind(visit)).remove)
        yield


@contextmanager
def _gradients_of(visits: Iterable[_Visit], state: PhiloxState, *, exact: bool) -> Iterator[None]:
    """Let the layers' backward passes be exact, or draw from ``state``; and let them note down nothing."""
    with ExitStack() as stack:
        for visit in visits:
            layer = visit.layer
            visit.exact = exact
            stack.callback(_restore, layer, layer.method, layer.state, layer.collect_statistics)
            layer.state, layer.collect_statistics = state, False
            if exact:
                layer.method = _EXACT
        yield


def _restore(layer: BinaryLayer, method: MethodConfig, state: PhiloxState, collect: bool) -> None:
    layer.method, layer.state, layer.collect_statistics = method, state, collect


def _noiseless() -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("dx", "dw", "accumulated_dx", "accumulated_dw"):
        found |= {f"{name}_relative_variance": 0.0, f"{name}_squared_bias": 0.0, f"{name}_cosine": 1.0}
    return found
