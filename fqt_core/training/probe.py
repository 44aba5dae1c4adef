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

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from fqt_core import ops
from fqt_core.config import Qat
from fqt_core.data.counters import Purpose
from fqt_core.layers import BinaryLayer
from fqt_core.random import PhiloxState
from fqt_core.training.noise import GradientNoise
from fqt_core.training.seeding import seeded
from fqt_core.training.taps import LayerVisit, gradients_of, stand_ins, tapped

DRAWS = 2
"""Independent draws, of local and of accumulated noise each."""

_EXACT = Qat()


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
        for visit in visits.values():
            visit.exact = exact
        with (
            gradients_of(visits.values(), state, _EXACT if exact else None),
            tapped(visits.values(), anchor),
            seeded(state.seed, Purpose.PROBE, state.step, images.device),
            torch.enable_grad(),
        ):
            logits = functional_call(self._model, stand_ins(self._model, self._layers), (images,))
            loss = functional.cross_entropy(logits, labels)
            for draw in range(1 if exact else DRAWS):
                state.stream = DRAWS + draw  # below it are the local draws
                torch.autograd.grad(loss, anchor, retain_graph=draw + 1 < DRAWS and not exact, allow_unused=True)


class _Visit(LayerVisit):
    """One layer in one probe: takes the gradients that pass by, and sums up their noise."""

    def __init__(self, layer: BinaryLayer, state: PhiloxState) -> None:
        super().__init__(layer, state)
        self.exact = True
        self._method = layer.method
        self._gradient: Tensor | None = None
        self._noise: dict[str, GradientNoise] = {}
        self._local: dict[str, float] = {}

    def see_output_gradient(self, gradient: Tensor) -> None:
        """Take dL/dY."""
        rows = self.rows(gradient).detach().float().contiguous()
        if not self.exact:
            self._add("dw", self.weight_gradient(self.backward(rows, self._method)))
            return
        self._noise["dw"] = GradientNoise(self.exact_weight_gradient(rows))
        self._gradient = rows
        if self.window is None:
            self._draw_locally()

    def see_input_gradient(self, gradient: Tensor) -> None:
        """Take dL/dX."""
        rows = self.rows(gradient)
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
            backward = self.backward(gradient, self._method)
            if self.window is not None:
                self._add("dx", ops.apply_window(backward.input_gradient(), self.window))
            self._add("dw", self.weight_gradient(backward))
        for name, noise in self._noise.items():
            self._local |= noise.figures(name)
            noise.restart()

    def _add(self, name: str, draw: Tensor) -> None:
        if name in self._noise:
            self._noise[name].add(draw)


def _noiseless() -> dict[str, float]:
    found: dict[str, float] = {}
    for name in ("dx", "dw", "accumulated_dx", "accumulated_dw"):
        found |= {f"{name}_relative_variance": 0.0, f"{name}_squared_bias": 0.0, f"{name}_cosine": 1.0}
    return found
