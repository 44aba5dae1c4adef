"""Named points of the ``fqt`` family, from fast to accurate: the one place that says what they stand for.

The three are on the measured front of accuracy against speed (``docs/accuracy.md``). What makes a step fast is keeping
few groups of the gradient. More than 4 bits gain nothing there: on machines with byte products they cost nothing
either, but where codes are looked up in tables, 8 bits cost twice what 4 do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

PresetName: TypeAlias = Literal["fast", "balanced", "accurate"]


@dataclass(frozen=True)
class Preset:
    """A set of options of ``fqt``; ``summary`` is for people."""

    summary: str
    options: Mapping[str, Any]


def _preset(summary: str, **options: Any) -> Preset:
    common = {"groups": "sample-channel", "rounding": "stochastic", "clip": None}
    return Preset(summary, MappingProxyType(common | options))


PRESETS: dict[PresetName, Preset] = {
    "fast": _preset(
        "The paper's: a quarter of the groups at 4 bits, one bit on average.", bits=4, pruning="systematic", keep=0.25
    ),
    "balanced": _preset("Half of the groups at 4 bits.", bits=4, pruning="systematic", keep=0.5),
    "accurate": _preset("All groups at 4 bits, no pruning.", bits=4, pruning="none", keep=None),
}
