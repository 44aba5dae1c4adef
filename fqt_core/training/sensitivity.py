"""How much noise each setting of a layer's gradient quantiser would put into the gradients of all weights.

With the exact G = dL/dY of layer m, a setting s quantises it once for dL/dΘ and once for dL/dX. The noise of dL/dΘ
stays in layer m; that of dL/dX reaches the weights t of all layers before it. Both as relative variances V (see
:mod:`fqt_core.training.noise`), the loss of a setting is

::

    loss(m, s) = log(1 + V_dΘ(m, s)) + Σ_t log(1 + a(m, t) · V_keep(m, s) + b(m, t) · V_code(m, s))

where V_dX = V_keep + V_code, the shares of dropping groups and of rounding the codes of the kept ones. The sum of
these losses over layers estimates Σ_t log(1 + V_t), the noise that arrives at the weights of each layer; the logarithm
because noise multiplies on the way back, where it is quantised again. In a plain chain with a = b = 1 this is
``1 + V_t ≈ (1 + V_dΘ(t)) · Π_m (1 + V_dX(m))``.

``a`` and ``b`` are measured, for they differ: dropping samples takes their signal away all along, while the noise of
codes is nearly white and averages out in every sum on the way (a tenth of it or less reaches the first layer); and past
a shortcut only a part of the gradient has the noise. So dL/dX of one layer at a time is quantised, and the gradients of
all weights before it are compared with the exact ones.

With groups of samples and channels, errors of different groups are orthogonal, in dL/dX and in dL/dΘ. So the variance
for any kept fraction follows from dense quantisation, group by group, by E‖ĝ‖² = Σ_i E‖q_i‖² / p_i: a few draws serve
all fractions, and no luck of the selection is in it. For pixel rows each setting is drawn.

The scale of an estimate is left out (``1 + V = E‖ĝ‖² ‖g‖² / ⟨E ĝ, g⟩²``), since clipping shrinks, and Adam hardly sees
that. What bias then remains, ``β² = ‖E ĝ‖² ‖g‖² / ⟨E ĝ, g⟩² - 1``, counts :data:`BIAS_WEIGHT` times, for no number of
steps averages it away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from fqt_core import ops
from fqt_core.config import Fqt, MethodConfig, Qat
from fqt_core.config.setting import KEPT_PARTS, GradientSetting
from fqt_core.data.counters import Purpose
from fqt_core.layers import BinaryLayer
from fqt_core.models.order import weight_layers
from fqt_core.quantizers.agp import kept_count
from fqt_core.random import PhiloxState
from fqt_core.training.seeding import seeded
from fqt_core.training.taps import LayerVisit, gradients_of, stand_ins, tapped

BIAS_WEIGHT = 20.0
"""How many times bias counts as much as variance (measured: ``docs/methods.md``)."""

_DRAWS = 2
_MOST = 1e9  # of a variance; the logarithm of more says no more
_FIRST_STREAM = 1 << 16  # of random numbers; telemetry draws below it
_EXACT = Qat()
_PUT_IN: tuple[dict[str, Any], ...] = ({"bits": 8, "keep": 0.5}, {"bits": 2, "pruning": "none"})


@dataclass(frozen=True)
class Inner:
    """Inner products of draws ĝ and the exact gradient g, per group: float64 (groups,).

    ``square``: E‖ĝ‖²; ``cross``: ‖E ĝ‖², from two draws; ``along``: ⟨E ĝ, g⟩; ``exact``: ‖g‖².
    """

    square: Tensor
    cross: Tensor
    along: Tensor
    exact: Tensor

    @classmethod
    def of(cls, draws: Sequence[Tensor], exact: Tensor) -> Inner:
        """From two draws, (groups, *)."""
        one, other, g = (tensor.flatten(1) for tensor in (*draws, exact))
        square = (_dot(one, one) + _dot(other, other)) / 2
        return cls(square, _dot(one, other), (_dot(one, g) + _dot(other, g)) / 2, _dot(g, g))

    def variance(self, probabilities: Tensor | None = None) -> float:
        """V, if group i is kept with probability p_i and divided by it (``None``: all are kept).

        0 where the exact gradient is zero, and :data:`_MOST` where nothing of it is left.
        """
        square = self.square
        if probabilities is not None:
            square = torch.where(probabilities > 0, square / probabilities, 0.0)
        return self._excess(square)

    @property
    def bias(self) -> float:
        """β², from two draws; what variance they have left in it is as often below zero as above."""
        return self._excess(self.cross)

    def _excess(self, square: Tensor) -> float:
        """How far a squared norm is above that of the exact gradient, brought to the same length along it."""
        along, exact = float(self.along.sum()) ** 2, float(self.exact.sum())
        if exact == 0:
            return 0.0
        return min(_MOST, max(0.0, exact * float(square.sum()) / along - 1)) if along else _MOST


def inclusion(weight: Tensor, kept: float) -> Tensor:
    """p_i = min(1, c · weight_i) with Σ p = ``kept``, float64 (groups,); see :mod:`fqt_core.quantizers.agp`."""
    weight = weight.double()
    certain = torch.zeros_like(weight, dtype=torch.bool)
    if kept >= int((weight > 0).sum()):
        return (weight > 0).double()
    while True:
        rest = torch.where(certain, 0.0, weight)
        p = torch.where(certain, 1.0, rest * ((kept - int(certain.sum())) / rest.sum()))
        over = (p >= 1) & ~certain
        if not bool(over.any()):
            return p
        certain |= over


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Inner products of rows, float64."""
    return cast("Tensor", torch.linalg.vecdot(one, other)).double()


@dataclass
class _Ratio:
    """A quotient of two sums."""

    above: float = 0.0
    below: float = 0.0

    def add(self, above: float, below: float) -> None:
        """Add to both sums."""
        self.above += above
        self.below += below

    @property
    def value(self) -> float:
        """The quotient; 0 where there is nothing below."""
        return self.above / self.below if self.below else 0.0


@dataclass
class LayerNoise:
    """What was measured of one layer, one entry per probed batch; of settings by their number.

    ``weight``: V_dΘ; ``dropped`` and ``coded``: V_keep and V_code of dL/dX. ``arrived``: for dropping and for rounding,
    by the target's name, squared relative errors there, and those that were put in, summed up.
    """

    weight: dict[int, list[float]] = field(default_factory=dict)
    dropped: dict[int, list[float]] = field(default_factory=dict)
    coded: dict[int, list[float]] = field(default_factory=dict)
    arrived: tuple[dict[str, _Ratio], dict[str, _Ratio]] = field(default_factory=lambda: ({}, {}))

    def own(self, setting: int) -> tuple[float, float]:
        """V of dL/dX and of dL/dΘ by this layer alone."""
        return _mean(self.dropped.get(setting)) + _mean(self.coded.get(setting)), _mean(self.weight[setting])

    def shares(self, name: str, setting: int) -> dict[str, float]:
        """What a setting adds to log(1 + V_t), by target; ``name`` is this layer's."""
        lost, rounded = self.arrived
        dropped, coded = _mean(self.dropped.get(setting)), _mean(self.coded.get(setting))
        found = {target: math.log1p(lost[target].value * dropped + rounded[target].value * coded) for target in lost}
        return found | {name: _mean([math.log1p(v) for v in self.weight[setting]])}


class _Visit(LayerVisit):
    """One layer in one probed batch: keeps the exact gradients, or compares what arrives with them."""

    def __init__(self, layer: BinaryLayer, state: PhiloxState) -> None:
        super().__init__(layer, state)
        self.gradient: Tensor | None = None
        self.dx: Tensor | None = None
        self.arrived = 0.0
        self.put_in = 0.0
        self.noisy_method: MethodConfig | None = None
        self.compares = False

    def see_output_gradient(self, gradient: Tensor) -> None:
        """Keep dL/dY, or compare its dL/dΘ."""
        rows = self.rows(gradient).detach().float().contiguous()
        if not self.compares:
            self.gradient, self.dw = rows, self.exact_weight_gradient(rows)
        else:
            error = rows - self.known()
            self.arrived = _relative(self.exact_weight_gradient(error), self.dw) if bool(error.any()) else 0.0

    def see_input_gradient(self, gradient: Tensor) -> Tensor | None:
        """Keep dL/dX, or put a noisy one in its place."""
        if not self.compares:
            self.dx = self.rows(gradient).detach()
        elif self.noisy_method is not None:
            assert self.dx is not None
            noisy = self.input_gradient(self.noisy_method)
            self.put_in = _relative(noisy - self.dx, self.dx)
            return noisy.view_as(gradient)
        return None

    def known(self) -> Tensor:
        """The exact dL/dY."""
        assert self.gradient is not None
        return self.gradient

    def input_gradient(self, method: MethodConfig) -> Tensor:
        """dL/dX after the window, of the exact dL/dY by a method."""
        assert self.window is not None
        return ops.apply_window(self.backward(self.known(), method).input_gradient(), self.window)

    def draw(self, method: MethodConfig) -> tuple[Tensor | None, Tensor]:
        """dL/dX (``None`` if nobody wants it) and dL/dΘ of the exact dL/dY by a method."""
        backward = self.backward(self.known(), method)
        dx = (
            None if self.dx is None or self.window is None else ops.apply_window(backward.input_gradient(), self.window)
        )
        return dx, self.weight_gradient(backward)


class Sensitivity:
    """Probes one network.

    Attributes:
        noise: what was measured, by the names of the layers to be chosen for.
        elements: gradient elements per image of the same layers; of a linear layer, per row.

    Args:
        model: gives logits, float (n, classes), for images.
        layers: its binarised layers by name.
        free: names of those whose settings are to be chosen.
        method: the method that settings are of: its groups, rounding and pruning.
        settings: what may be chosen.
        samples: images of a batch that the quantisers of training see at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, BinaryLayer],
        free: Sequence[str],
        method: Fqt,
        settings: Sequence[GradientSetting],
        samples: int,
    ) -> None:
        self._model = model
        self._layers = layers
        self._method = method
        self._settings = settings
        self._samples = samples
        self._floats = {
            name: module.weight
            for name, module in weight_layers(model).items()
            if not isinstance(module, BinaryLayer) and isinstance(module.weight, Tensor) and module.weight.requires_grad
        }
        self.noise = {name: LayerNoise() for name in free}
        self.elements: dict[str, int] = {}

    def measure(
        self, images: Tensor, labels: Tensor, *, seed: int, number: int, heed: Callable[[], None] = lambda: None
    ) -> None:
        """Probe one batch more.

        Args:
            images: float (n, c, h, w), preprocessed, on the network's device.
            labels: int64 (n,).
            seed, number: of the run, and of the batch; they key the random numbers.
            heed: called before each layer, whose probe takes a while; what it raises ends the probe.

        Raises:
            NonFiniteGradientError: the quantisers met an infinity or NaN.
        """
        state = PhiloxState(seed=seed, step=number, stream=_FIRST_STREAM, probe=True)
        visits = {name: _Visit(layer, state) for name, layer in self._layers.items()}
        anchor = torch.zeros((), device=images.device, requires_grad=True)
        with (
            gradients_of(visits.values(), state, _EXACT),
            tapped(visits.values(), anchor),
            seeded(seed, Purpose.PROBE, number, images.device),
            torch.enable_grad(),
        ):
            logits = functional_call(self._model, stand_ins(self._model, self._layers), (images,))
            loss = functional.cross_entropy(logits, labels)
            watched = [anchor, *self._floats.values()]
            exact = torch.autograd.grad(loss, watched, retain_graph=True, allow_unused=True)[1:]
            for visit in visits.values():
                visit.compares = True
            for name, noise in self.noise.items():
                heed()
                for kind, options in enumerate(_PUT_IN):
                    state.stream += 1
                    self._put_in(
                        visits, name, kind, self._method.with_options(**options), (loss, watched, exact), noise
                    )
        for name, noise in self.noise.items():
            heed()
            self.elements[name] = visits[name].known()[0].numel()
            self._draw(visits[name], noise, state)

    def _put_in(
        self,
        visits: Mapping[str, _Visit],
        name: str,
        kind: int,
        method: MethodConfig,
        graph: tuple[Tensor, list[Tensor], tuple[Tensor | None, ...]],
        noise: LayerNoise,
    ) -> None:
        """Make dL/dX of one layer noisy, and see what arrives before it."""
        if visits[name].dx is None:
            return
        loss, watched, exact = graph
        visits[name].noisy_method = method
        found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, watched, retain_graph=True, allow_unused=True)[1:]
        visits[name].noisy_method = None
        arrived = {target: visit.arrived for target, visit in visits.items() if target != name}
        for target, now, before in zip(self._floats, found, exact, strict=True):
            if now is not None and before is not None:
                arrived[target] = _relative(now - before, before)
        put_in = visits[name].put_in
        for target, error in arrived.items():
            noise.arrived[kind].setdefault(target, _Ratio()).add(error, put_in)

    def _draw(self, visit: _Visit, noise: LayerNoise, state: PhiloxState) -> None:
        """Quantise the exact gradient of one layer in all ways."""
        by_group = self._method.groups == "sample-channel"
        dense: dict[tuple[int, float | None], dict[str, Inner]] = {}
        # Dense settings first: what dropping adds is told apart from them.
        for number, setting in sorted(enumerate(self._settings), key=lambda row: -row[1].kept):
            if setting.exact:
                found = coded = dict.fromkeys(("dw",) if visit.dx is None else ("dw", "dx"), 0.0)
            else:
                code = setting.bits, setting.clip
                drawn = dense[code] if by_group and code in dense else self._inner(visit, setting, state, by_group)
                inner = dense.setdefault(code, drawn)
                # Only clipping is biased, and it clips the same whatever is dropped.
                biased = setting.clip is not None
                bias = {kind: (BIAS_WEIGHT - 1) * one.bias if biased else 0.0 for kind, one in inner.items()}
                coded = {kind: one.variance() + bias[kind] for kind, one in inner.items()}
                plain = self._dropping(visit, inner, setting) if by_group else _variances(drawn)
                found = {kind: variance + bias[kind] for kind, variance in plain.items()}
            noise.weight.setdefault(number, []).append(found["dw"])
            if "dx" in found:
                noise.coded.setdefault(number, []).append(coded["dx"])
                noise.dropped.setdefault(number, []).append(max(0.0, found["dx"] - coded["dx"]))

    def _inner(self, visit: _Visit, setting: GradientSetting, state: PhiloxState, by_group: bool) -> dict[str, Inner]:
        """Two draws of a setting; ``by_group``: of its dense form, group by group."""
        method = self._method.with_options(**(replace(setting, kept=KEPT_PARTS) if by_group else setting).options)
        draws = []
        for _ in range(_DRAWS):
            state.stream += 1
            draws.append(visit.draw(method))
        found = {"dw": _inner([dw for _, dw in draws], visit.dw, by_group=by_group)}
        if visit.dx is not None:
            found["dx"] = _inner([dx for dx, _ in draws if dx is not None], visit.dx, by_group=by_group)
        return found

    def _dropping(self, visit: _Visit, dense: Mapping[str, Inner], setting: GradientSetting) -> dict[str, float]:
        """V of a setting from its dense form."""
        gradient = visit.known()
        channels, images = gradient.shape[1], gradient.shape[0]
        share = kept_count(self._samples, setting.keep) / self._samples
        found = {
            "dw": dense["dw"].variance(inclusion(_extent(gradient, 1), kept_count(channels, setting.keep))),
        }
        if "dx" in dense:
            scaled = visit.scaled_gradient(gradient)
            found["dx"] = dense["dx"].variance(inclusion(_extent(scaled, 0), share * images))
        return found


def _variances(inner: Mapping[str, Inner]) -> dict[str, float]:
    return {kind: one.variance() for kind, one in inner.items()}


def _inner(draws: Sequence[Tensor], exact: Tensor, *, by_group: bool) -> Inner:
    return Inner.of(draws, exact) if by_group else Inner.of([draw[None] for draw in draws], exact[None])


def _extent(gradient: Tensor, dim: int) -> Tensor:
    """Range of each group with zero included: what probabilities are in proportion to."""
    lo, hi = ops.group_range(gradient, dim)
    return hi.double().clamp(min=0) - lo.double().clamp(max=0)


def _relative(error: Tensor, exact: Tensor) -> float:
    square = float(exact.double().square().sum())
    return float(error.double().square().sum()) / square if square else 0.0


def _mean(values: Sequence[float] | None) -> float:
    return sum(values) / len(values) if values else 0.0
