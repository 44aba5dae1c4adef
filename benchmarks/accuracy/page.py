"""Writes tables and charts of stored results into ``docs/accuracy.md``: ``python -m benchmarks.accuracy.page``.

No figure between the page's markers is typed by hand. Results are the files ``accuracy-*.json`` of
``benchmarks/results``; the front is drawn from them and from the steps of the same methods, which are the files of its
folder ``points``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.accuracy import chart, curves, pareto, table
from benchmarks.accuracy.protocols import PROTOCOLS
from benchmarks.cli import Parser, run
from benchmarks.errors import BenchmarkError
from benchmarks.pipes import ROOT
from benchmarks.table import put

BEGIN = "<!-- python -m benchmarks.accuracy.page: begin -->"
END = "<!-- python -m benchmarks.accuracy.page: end -->"
PAGE = "accuracy.md"
_NEARLY_SOLVED = "digits"  # differences are within the noise, so it draws no front if there is another protocol

_TIMES = (
    "CPU seconds to the first epoch with that validation accuracy, "
    "and how many times as soon as full precision gets there:"
)


def write(rows: Sequence[results.Row], docs: Path) -> str:
    """Draw the charts, put the tables into the page, and give the tables.

    Raises:
        BenchmarkError: there are no accuracies.
    """
    accuracy = results.of_accuracy(rows)
    if not accuracy:
        raise BenchmarkError("there are no accuracies yet; `python -m benchmarks.accuracy --json FILE` measures them")
    parts: list[str] = []
    for protocol in dict.fromkeys(row["protocol"] for row in accuracy):
        mine = [row for row in accuracy if row["protocol"] == protocol]
        chart.draw(table.summaries(mine), docs / f"accuracy-{protocol}.png")
        parts += [f"### {protocol}", f"![Test accuracy by method](accuracy-{protocol}.png)", table.render(mine)]
        if curves.chosen_runs(mine):
            curves.draw(mine, docs / f"curves-{protocol}.png")
            parts += [f"![Losses and accuracies](curves-{protocol}.png)", _TIMES]
            parts += [curves.render(mine, PROTOCOLS[protocol].levels)]
    telling = [row for row in accuracy if row["protocol"] != _NEARLY_SOLVED] or accuracy
    found = pareto.trades(_settled(telling), results.of_steps(rows))
    if len({trade.method for trade in found}) > 1:  # one method alone has no front
        pareto.draw(found, docs / "pareto.png")
        parts += ["### Accuracy against speed", "![The front](pareto.png)", pareto.render(found)]
    tables = "\n\n".join(parts)
    put(docs / PAGE, tables, begin=BEGIN, end=END)
    return tables


def _settled(rows: Sequence[results.Row]) -> Sequence[results.Row]:
    """Those of networks that were trained with several seeds, if there are any: one seed alone draws no front."""
    seeds: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        if row["test"] is not None:
            seeds.setdefault((row["protocol"], row["net"]), set()).add(row["seed"])
    return [row for row in rows if len(seeds.get((row["protocol"], row["net"]), ())) > 1] or rows


def _stored() -> list[Path]:
    return [*sorted(results.FOLDER.glob("accuracy-*.json")), *sorted(results.FOLDER.glob("points/*.json"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = Parser(prog="benchmarks.accuracy.page", description="Write the tables and charts of accuracies anew.")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="the folder of the page")
    parser.add_argument("files", nargs="*", type=Path, help="files of results; without any, all that are stored")
    given: argparse.Namespace = parser.parse_args(arguments)
    sys.stdout.write(write(results.read(given.files or _stored()), given.docs) + "\n")


if __name__ == "__main__":
    run("benchmarks.accuracy.page", main)
