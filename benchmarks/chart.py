"""Draws the ratios of training steps as bars: ``python -m benchmarks.chart RESULTS.json… --out FILE.png``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.cli import Parser, run
from benchmarks.drawing import new_figure, save
from benchmarks.errors import BenchmarkError

_COLOURS = {"torch-fp32": "#2b5c8a", "torch-bf16": "#e08a3c"}
_LABELS = {"torch-fp32": "against PyTorch FP32", "torch-bf16": "against PyTorch bf16 autocast"}
_BAR = 0.38
_INCHES_WIDE, _INCHES_PER_GROUP, _INCHES_AROUND = 8.0, 0.62, 1.5


def draw(rows: Sequence[results.Row], path: Path) -> None:
    """Draw a group of bars per configuration and method, a bar per baseline, as PNG, SVG or PDF by the file's name.

    Raises:
        BenchmarkError: there is nothing to draw, or nothing to draw with.
    """
    if not rows:
        raise BenchmarkError("the files hold no training steps to draw")
    ratios: dict[str, dict[str, float]] = {}
    for row in rows:
        ratios.setdefault(f"{results.title(row)} ({row['isa']})", {})[row["baseline"]] = row["ratio"]
    figure = new_figure(_INCHES_WIDE, _INCHES_AROUND + _INCHES_PER_GROUP * len(ratios))
    axes = figure.subplots()
    for number, baseline in enumerate(_COLOURS):
        present = [(place, found[baseline]) for place, found in enumerate(ratios.values()) if baseline in found]
        places = [place + (number - 0.5) * _BAR for place, _ in present]
        values = [value for _, value in present]
        bars = axes.barh(places, values, _BAR, color=_COLOURS[baseline], label=_LABELS[baseline])
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # where a bar ends before the line at 1
        axes.bar_label(bars, fmt="%.1f×", padding=3, fontsize=9, bbox=behind)
    axes.axvline(1, color="#555555", linewidth=1, linestyle="--")
    axes.set_yticks(range(len(ratios)), list(ratios))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("whole training steps, times as fast as PyTorch")
    axes.set_title(results.machine(rows, between="\n"), fontsize=9, color="#555555")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=len(_COLOURS))
    save(figure, path)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.chart", description="Draw the ratios of training steps.")
    parser.add_argument("files", nargs="+", type=Path, metavar="RESULTS.json", help="files of benchmarks.step")
    parser.add_argument("--out", type=Path, required=True, help="the picture: PNG, SVG or PDF")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    draw(results.of_steps(results.read(given.files)), given.out)


if __name__ == "__main__":
    run("benchmarks.chart", main)
