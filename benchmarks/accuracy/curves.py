"""Learning curves of a protocol's chosen runs, and how long a method takes to an accuracy."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.drawing import new_figure, save
from benchmarks.results import Row
from benchmarks.table import markdown

_INCHES = (9.0, 3.6)
_BASELINE = "fp32"


def chosen_runs(rows: Iterable[Row]) -> dict[str, dict[str, list[Row]]]:
    """By net and method, the runs that have a curve."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        if row.get("curve"):
            found.setdefault(row["net"], {}).setdefault(row["method"], []).append(row)
    return found


def seconds_to(rows: Sequence[Row], level: float) -> float | None:
    """CPU seconds to the first epoch whose validation accuracy is at least ``level``, 0 to 1: the median over seeds.

    ``None`` if a run never gets there.
    """
    times = [next((e["cpu_seconds"] for e in row["epochs"] if e["val"] >= level), None) for row in rows]
    reached = [time for time in times if time is not None]
    return statistics.median(reached) if len(reached) == len(times) else None


def render(rows: Sequence[Row], levels: Sequence[float]) -> str:
    """The table: seconds to each level, and how many times as soon as full precision."""
    heads = [f"{100 * level:.0f} %" for level in levels]
    lines: list[Sequence[str]] = []
    for net, methods in chosen_runs(rows).items():
        theirs = [seconds_to(methods.get(_BASELINE, []), level) if _BASELINE in methods else None for level in levels]
        for method, runs in methods.items():
            cells = [_cell(seconds_to(runs, level), base) for level, base in zip(levels, theirs, strict=True)]
            lines.append((net, f"`{method}`", *cells))
    return markdown(("net", "method", *heads), lines, 2)


def _cell(seconds: float | None, baseline: float | None) -> str:
    if seconds is None:
        return "not reached"
    return f"{seconds:.0f} s" + (f" ({baseline / seconds:.1f}x)" if baseline is not None else "")


def draw(rows: Sequence[Row], path: Path) -> None:
    """A line of panels per net: training loss by step, validation accuracy by CPU seconds; seed 0 of each method.

    Raises:
        BenchmarkError: there is nothing to draw with.
    """
    nets = chosen_runs(rows)
    width, height = _INCHES
    figure = new_figure(width, height * len(nets))
    panels = figure.subplots(len(nets), 2, squeeze=False)
    for (losses, accuracies), (net, methods) in zip(panels, nets.items(), strict=True):
        for method, runs in methods.items():
            run = min(runs, key=lambda row: row["seed"])
            losses.plot([p["step"] for p in run["curve"]], [p["loss"] for p in run["curve"]], label=method, linewidth=1)
            times, values = ([epoch[key] for epoch in run["epochs"]] for key in ("cpu_seconds", "val"))
            accuracies.plot(times, [100 * value for value in values], label=method, marker="o", markersize=3)
        losses.set(xlabel="step", ylabel="training loss", title=net)
        accuracies.set(xlabel="CPU seconds, one thread", ylabel="validation accuracy, %", xscale="log")
        accuracies.legend(frameon=False, fontsize=8)
        for axes in (losses, accuracies):
            axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
