"""What ``make bench`` runs: training and inference in the main configurations, the kernels, tables, page and chart."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import chart, gpu, inference, kernels, results, step, table, threads
from benchmarks.cli import Parser, number, run, say
from benchmarks.pipes import ROOT
from benchmarks.setting import Setting
from fqt_core.allocator import keep_pages

SETTINGS = (Setting("vgg16", 32, 128), Setting("resnet18", 32, 128), Setting("resnet18", 224, 16))
METHODS = ("fqt", "psq8", "int8")
SHARED = Setting("vgg16", 32, 128, threads=2)
"""What is run on one thread and on several, where there are so many processors."""
PREDICTIONS = (Setting("resnet18", 224, 1), Setting("resnet18", 224, 32))

_DOCS = ROOT / "docs"
_KERNEL_REPEATS = 5


def file_name(row: results.Row) -> str:
    """The file for a row of :mod:`benchmarks.step`."""
    names = (row["model"], row["image_size"], row["batch"], row["threads"], row["isa"], row["method"])
    return "-".join(map(str, names)) + ".json"


def inference_file_name(row: results.Row) -> str:
    """The file for a row of :mod:`benchmarks.inference`."""
    return f"inference-{file_name(row)}"


def bench(settings: Sequence[Setting], predictions: Sequence[Setting], repeats: int, folder: Path, docs: Path) -> str:
    """Measure training, inference and all kernels, and write files of results, chart and page.

    Args:
        settings: what is trained, with each of the methods.
        predictions: what is run from packed files.
        repeats: steps or turns of each side.
        folder: for the results.
        docs: the folder of the page.

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
    if (os.cpu_count() or 1) >= SHARED.threads:
        say(f"one thread and several: {SHARED.title()}")
        rows = threads.measure(SHARED, METHODS[0], repeats)
        results.write(folder / f"threads-{file_name(rows[0])}", rows)
    for setting in predictions:
        say(f"inference: {setting.title()}")
        rows = inference.measure(setting, repeats)
        results.write(folder / inference_file_name(rows[0]), rows)
    if torch.cuda.is_available():
        say("training steps on the GPU")
        device = torch.device("cuda")
        rows = [row for setting in settings for row in gpu.measure(device, setting, METHODS, repeats)]
        results.write(folder / "gpu.json", rows)
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
    parser = Parser(prog="benchmarks", description="Measure the main configurations, inference and the kernels.")
    parser.add_argument("--repeats", type=number, default=5, help="timed steps, or turns of inference, of each side")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    tables = bench(SETTINGS, PREDICTIONS, given.repeats, results.FOLDER, _DOCS)
    sys.stdout.write(f"{tables}\n\nFigures  {results.FOLDER}\nChart    {_DOCS / 'performance.png'}\n")


if __name__ == "__main__":
    run("benchmarks", main)
