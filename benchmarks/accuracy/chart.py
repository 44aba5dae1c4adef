"""Draws the accuracies of a comparison: a panel per network, a bar per method, QAT as a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.table import Summary
from benchmarks.drawing import new_figure, save
from benchmarks.errors import BenchmarkError

_COLOURS = {"float": "#7a8694", "simulated": "#b9c2cc", "integer": "#2b5c8a", "binary": "#1b3a57"}
_CEILING = "qat"
_INCHES_WIDE, _INCHES_PER_BAR, _INCHES_AROUND = 7.5, 0.28, 0.9
_ROOM_BELOW = 4.0


def draw(summaries: Sequence[Summary], path: Path) -> None:
    """Draw one protocol as PNG, SVG or PDF by the file's name.

    Raises:
        BenchmarkError: there is nothing to draw, or nothing to draw with.
    """
    if not summaries:
        raise BenchmarkError("there are no accuracies to draw")
    nets: dict[str, list[Summary]] = {}
    for one in summaries:
        nets.setdefault(one.net, []).append(one)
    heights = [_INCHES_AROUND + _INCHES_PER_BAR * len(group) for group in nets.values()]
    figure = new_figure(_INCHES_WIDE, sum(heights) + _INCHES_AROUND / 2)
    panels = figure.subplots(len(nets), squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (net, group) in zip(panels, nets.items(), strict=True):
        ordered = sorted(group, key=lambda one: one.test)
        bars = axes.barh(
            [one.method for one in ordered],
            [one.test for one in ordered],
            xerr=[one.deviation for one in ordered],
            color=[_COLOURS[one.arithmetic] for one in ordered],
            ecolor="#e08a3c",
        )
        axes.bar_label(bars, fmt="%.1f", padding=4, fontsize=8)
        for one in ordered:
            if one.method == _CEILING:
                axes.axvline(one.test, color="#e08a3c", linewidth=1, linestyle="--")
        axes.set_xlim(min(one.test - one.deviation for one in ordered) - _ROOM_BELOW)
        axes.margins(x=0.08)
        axes.set_title(f"{group[0].protocol}, net {net!r}", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("test accuracy, %")
    kinds = sorted({one.arithmetic for one in summaries})
    from matplotlib.patches import Patch  # noqa: PLC0415 - only this command needs it

    handles = [Patch(color=_COLOURS[kind], label=f"{kind} arithmetic in backward") for kind in kinds]
    figure.legend(handles=handles, frameon=False, loc="outside lower center", ncols=len(kinds), fontsize=8)
    save(figure, path)
