"""Accuracy against speed: ``python -m benchmarks.accuracy.pareto --accuracy FILE… --steps FILE… --out FILE.png``.

A method's gap to QAT is from :mod:`benchmarks.accuracy`, its step's ratio to PyTorch in FP32 from
:mod:`benchmarks.step`, which takes the same names (``python -m benchmarks.step --method keep2-b8 …``). A point is on
the front if no other one is both at least as fast and at least as accurate.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.accuracy.table import summaries
from benchmarks.cli import Parser, run
from benchmarks.drawing import new_figure, save
from benchmarks.errors import BenchmarkError
from benchmarks.table import markdown

_BASELINE = "torch-fp32"
_INCHES = (7.5, 4.2)
_COLUMNS = ("network of the steps", "kernels", "network of the accuracy", "method", "times FP32", "gap to QAT", "front")


@dataclass(frozen=True)
class Trade:
    """One method: ``ratio`` is PyTorch's FP32 step divided by its own; ``gap`` to QAT in percent points of the test.

    ``steps``: whose steps; ``net``: protocol and network of the accuracy.
    """

    steps: str
    isa: str
    net: str
    method: str
    ratio: float
    gap: float

    def beats(self, other: Trade) -> bool:
        """Whether it is at least as fast and as accurate, and better in one of the two."""
        return (
            self.ratio >= other.ratio and self.gap <= other.gap and (self.ratio, self.gap) != (other.ratio, other.gap)
        )


def trades(accuracy: Iterable[results.Row], steps: Iterable[results.Row]) -> list[Trade]:
    """Every method that both kinds of rows have, for each pair of networks and each instruction set."""
    gaps = [(f"{s.protocol}, {s.net}", s.method, s.gap) for s in summaries(accuracy) if s.gap is not None]
    found = [
        Trade(f"{row['model']} {row['image_size']}x{row['image_size']}", row["isa"], net, method, row["ratio"], gap)
        for row in steps
        if row["baseline"] == _BASELINE
        for net, method, gap in gaps
        if method == row["method"]
    ]
    return sorted(found, key=lambda trade: (trade.steps, trade.isa, trade.net, -trade.ratio))


def front(group: Sequence[Trade]) -> list[Trade]:
    """Those of one network, instruction set and net that no other one beats."""
    return [trade for trade in group if not any(other.beats(trade) for other in group)]


def _groups(found: Sequence[Trade]) -> dict[tuple[str, str, str], list[Trade]]:
    groups: dict[tuple[str, str, str], list[Trade]] = {}
    for trade in found:
        groups.setdefault((trade.steps, trade.isa, trade.net), []).append(trade)
    return groups


def render(found: Sequence[Trade]) -> str:
    """The table, in Markdown."""
    lines: list[tuple[str, ...]] = []
    for group in _groups(found).values():
        best = front(group)
        lines += [
            (t.steps, t.isa, t.net, f"`{t.method}`", f"{t.ratio:.1f}", f"{t.gap:.1f}", "yes" if t in best else "")
            for t in group
        ]
    return markdown(_COLUMNS, lines, 4)


def draw(found: Sequence[Trade], path: Path) -> None:
    """A panel per network, instruction set and net, two in a row: ratio to the right, accuracy up, the front as a line.

    Raises:
        BenchmarkError: there is nothing to draw with.
    """
    groups = _groups(found)
    width, height = _INCHES
    side_by_side = min(2, len(groups))
    below = -(-len(groups) // side_by_side)
    figure = new_figure(width * side_by_side, height * below)
    panels = figure.subplots(below, side_by_side, squeeze=False).flatten()
    for axes in panels[len(groups) :]:
        axes.set_axis_off()
    for axes, ((steps, isa, net), group) in zip(panels, groups.items(), strict=False):
        best = sorted(front(group), key=lambda trade: trade.ratio)
        axes.plot([t.ratio for t in best], [-t.gap for t in best], color="#e08a3c", linewidth=1.5, zorder=1)
        for trade in group:
            colour = "#e08a3c" if trade in best else "#2b5c8a"
            axes.scatter([trade.ratio], [-trade.gap], color=colour, s=26, zorder=2)
            axes.annotate(trade.method, (trade.ratio, -trade.gap), (4, 4), textcoords="offset points", fontsize=8)
        axes.set_title(f"steps of {steps} on {isa}; accuracy: {net}", fontsize=9)
        axes.set_xlabel("whole training steps, times as fast as PyTorch FP32")
        axes.set_ylabel("points behind QAT (negative)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12, y=0.12)
    save(figure, path)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.accuracy.pareto", description="Draw accuracy against speed.")
    parser.add_argument("--accuracy", nargs="+", type=Path, required=True, help="files of benchmarks.accuracy")
    parser.add_argument("--steps", nargs="+", type=Path, required=True, help="files of benchmarks.step")
    parser.add_argument("--out", type=Path, help="the picture: PNG, SVG or PDF")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    steps = results.of_steps(results.read(given.steps))
    found = trades(results.of_accuracy(results.read(given.accuracy)), steps)
    if not found:
        raise BenchmarkError("no method has both a gap to QAT and a step's time")
    if given.out is not None:
        draw(found, given.out)
    sys.stdout.write(render(found) + "\n")


if __name__ == "__main__":
    run("benchmarks.accuracy.pareto", main)
