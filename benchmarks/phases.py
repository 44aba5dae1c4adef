"""Where the time of our step goes: self times of the profiler's events, added up by what they are for.

An event belongs to the outermost ``fqt::`` operation that it runs inside, so that a reference's inner operations count
as the operation's; where the optimiser takes its step layer by layer, products of gradients that were left for it are
products, and where it takes all of them in one operation they are its own. What else runs inside that step is the
optimiser's. The time of no operation (Python, autograd) is ``rest``. Blocks go back one by one, for the operation that
takes several of them at once quantises and multiplies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from fqt_core.fused import run

PHASES = ("packing", "quantising", "products", "normalisation", "optimiser", "torch", "rest")

_RULES: tuple[tuple[str, str], ...] = (
    (r"Optimizer\..*|fqt::.*(adam|sgd).*", "optimiser"),
    (r"fqt::stem_(normalization|gradient)", "normalisation"),
    (r"fqt::stem_.*", "products"),
    (
        r"fqt::(.*affine|.*pool|.*gradient_sums|.*normalization|.*entry|.*enter|.*leave|.*add_rows|apply_window).*",
        "normalisation",
    ),
    (
        r"fqt::(.*range|.*moments|.*quantize|.*codes|select_groups|uniform_numbers|pixel_square_sums|pixel_gather).*",
        "quantising",
    ),
    (r"fqt::.*(conv2d|linear|block_forward|chain|input_gradient|weight_gradient).*", "products"),
    (r"fqt::.*(pack|sign|magnitude).*", "packing"),
    (r"aten::.*|mkldnn::.*", "torch"),
)
"""Pattern of an event's name, and its phase; the first that fits counts."""

_STEP = "benchmarks::step"


def phase_of(name: str) -> str | None:
    """The phase of an event by its name; ``None`` if no rule fits."""
    return next((phase for pattern, phase in _RULES if re.fullmatch(pattern, name)), None)


def measure(step: Callable[[], None], steps: int) -> dict[str, float]:
    """Milliseconds per step of each phase, the profiler's own cost included; together they are the whole step."""
    apart = mock.patch.object(run, "RUN_BYTES", 0)
    with apart, torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            with torch.profiler.record_function(_STEP):
                step()
    totals = dict.fromkeys(PHASES, 0.0)
    for event in profiler.events() or ():
        names = _ancestry(event)
        if _STEP in names:
            totals[_settle(names)] += event.self_cpu_time_total / 1000 / steps
    return totals


def _ancestry(event: Any) -> list[str]:
    """The event's name and those of the events that it runs inside, innermost first."""
    names = []
    while event is not None:
        names.append(str(event.name))
        event = event.cpu_parent
    return names


def _settle(names: list[str]) -> str:
    outermost_first = names[::-1]
    ours = [name for name in outermost_first if name.startswith("fqt::")]
    ours += [name for name in outermost_first if phase_of(name) == "optimiser"]
    return phase_of(ours[0] if ours else names[0]) or "rest"
