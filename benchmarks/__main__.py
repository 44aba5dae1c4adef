"""What ``make bench`` runs: the main configurations, the kernels, a table, the chart and the page of figures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import chart, kernels, results, step, table
from benchmarks.cli import Parser, number, run, say
from benchmarks.pipes import ROOT
from benchmarks.setting import Setting
from fqt_core.allocator import keep_pages

SETTINGS = (Setting("vgg16", 32, 128), Setting("resnet18", 32, 128), Setting("resnet18", 224, 16))
METHODS = ("fqt", "psq8")

_DOCS = ROOT / "docs"
_KERNEL_REPEATS = 5


def file_name(row: results.Row) -> str:
    """The file for a row of :mod:`benchmarks.step`."""
    names = (row["model"], row["image_size"], row["batch"], row["threads"], row["isa"], row["method"])
    return "-".join(map(str, names)) + ".json"


def bench(settings: Sequence[Setting], repeats: int, folder: Path, docs: Path) -> str:
    """Measure everything, and write files of results to ``folder``, and chart and page to ``docs``.

    Returns:
        The tables.
    """
    rows_of_kernels = kernels.rows_of("auto")
    for setting in settings:
        say(setting.title())
        files: dict[str, list[results.Row]] = {}
        for row in step.measure(setting, METHODS, repeats):
            files.setdefault(file_name(row), []).append(row)
        for name, rows in files.items():
            results.write(folder / name, rows)
    say("kernels")
    keep_pages()
    torch.set_num_threads(1)
    results.write(folder / "kernels.json", kernels.measure(rows_of_kernels, _KERNEL_REPEATS))
    rows = results.read(sorted(folder.glob("*.json")))
    tables = table.render(rows)
    table.put(docs / "performance.md", tables)
    chart.draw(results.of_steps(rows), docs / "performance.png")
    return tables


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks", description="Measure the main configurations and the kernels.")
    parser.add_argument("--repeats", type=number, default=5, help="timed steps of each side")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    tables = bench(SETTINGS, given.repeats, results.FOLDER, _DOCS)
    sys.stdout.write(f"{tables}\n\nFigures  {results.FOLDER}\nChart    {_DOCS / 'performance.png'}\n")


if __name__ == "__main__":
    run("benchmarks", main)
