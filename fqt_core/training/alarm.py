"""Tells when a layer's quantised gradients are too noisy to learn from, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fqt_core.config import GradientQuantizer, MethodConfig
from fqt_core.events import WarningRaised
from fqt_core.layers import BinaryLayer

LEAST_COSINE = 0.05
"""Below it a layer learns hardly more than if its weights stayed as they are (measured: ``docs/telemetry.md``)."""

CODE = "gradient_noise"

_NAMED = 3

Figures = Mapping[str, Mapping[str, float]]


class NoiseAlarm:
    """Warns once per layer and cause.

    Causes: ``own``, where the layer's own quantiser leaves next to nothing of a gradient; ``accumulated``, where it is
    that of the layers above, together, which leaves nothing for this one.

    Args:
        layers: binarised layers by name.
    """

    def __init__(self, layers: Mapping[str, BinaryLayer]) -> None:
        self._layers = layers

    def check(self, figures: Figures, told: list[str]) -> Iterator[WarningRaised]:
        """Warnings that are due.

        Args:
            figures: of :meth:`fqt_core.training.probe.GradientProbe.measure`.
            told: what was warned of before, ``cause/layer``; what is warned of now is added.
        """
        found: dict[str, list[str]] = {"own": [], "accumulated": []}
        for layer, row in figures.items():
            own = min(row.get("dx_cosine", 1.0), row.get("dw_cosine", 1.0))
            if own < LEAST_COSINE:
                found["own"].append(layer)
            elif row.get("accumulated_dw_cosine", 1.0) < LEAST_COSINE:
                found["accumulated"].append(layer)
        for cause, layers in found.items():
            new = [layer for layer in layers if f"{cause}/{layer}" not in told]
            if new:
                told += [f"{cause}/{layer}" for layer in new]
                tell = self._own if cause == "own" else self._accumulated
                yield WarningRaised(code=CODE, message=tell(new, figures))

    def _own(self, names: list[str], figures: Figures) -> str:
        least = min(min(figures[name].get(f"{kind}_cosine", 1.0) for kind in ("dx", "dw")) for name in names)
        return (
            f"quantising the gradient of {_listed(names)} leaves next to nothing of it (cosine {least:.3f} to the "
            f"exact one, where {LEAST_COSINE} is the least to learn from): {self._remedies(names)}"
        )

    def _accumulated(self, names: list[str], figures: Figures) -> str:
        least = min(figures[name]["accumulated_dw_cosine"] for name in names)
        worst = sorted((n for n in figures if "dx_cosine" in figures[n]), key=lambda n: figures[n]["dx_cosine"])
        return (
            f"the gradient that reaches {_listed(names)} is nearly all noise of the layers behind (cosine {least:.3f} "
            f"to the exact one, where {LEAST_COSINE} is the least to learn from); most is added by "
            f"{_listed(worst[:_NAMED])}: {self._remedies(worst[:_NAMED] or names)}"
        )

    def _remedies(self, names: list[str]) -> str:
        return " · or ".join(remedies(self._layers[names[0]].method))


def remedies(method: MethodConfig) -> list[str]:
    """What makes a method's gradients less noisy, the mildest first."""
    quantizers: list[GradientQuantizer] = [q for q in (method.input_gradient, method.weight_gradient) if q is not None]
    found = []
    if any(q.pruning == "topk" for q in quantizers):
        found.append("prune without bias (method.pruning: systematic)")
    if any(q.clip is None and q.bits <= 2 for q in quantizers):
        found.append("clip the ranges (method.clip: 2)")
    if any(q.keep < 1 for q in quantizers):
        keep = min(1.0, 2 * min(q.keep for q in quantizers))
        found.append(f"keep more groups (method.keep: {keep:g})")
    if any(q.bits < 4 for q in quantizers):
        found.append("take more bits (method.bits: 4)")
    if any(q.bits < 8 or q.keep < 1 for q in quantizers):
        found.append("take dense 8-bit gradients (method.name: psq, bits: 8, weight_groups: channel)")
    exception = (
        "method.overrides: precision full" if "overrides" in type(method).model_fields else "filter_fn of convert_"
    )
    found.append(f"leave these layers in full precision ({exception})")
    return found


def _listed(names: list[str]) -> str:
    head = ", ".join(names[:_NAMED])
    return head if len(names) <= _NAMED else f"{head} and {len(names) - _NAMED} more layers"
