"""Results as Markdown tables: ``python -m benchmarks.table [RESULTS.json…] [--write docs/performance.md]``.

Without files it reads those of the last ``make bench``. A page has its tables between the lines :data:`BEGIN` and
:data:`END`, and no figure in it is typed by hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks import results
from benchmarks.cli import Parser, run
from benchmarks.errors import BenchmarkError
from benchmarks.phases import PHASES

BEGIN = "<!-- python -m benchmarks.table: begin -->"
END = "<!-- python -m benchmarks.table: end -->"

_MEBIBYTE = 1 << 20


def render(rows: Sequence[results.Row]) -> str:
    """All tables that the rows give."""
    steps, predictions, kernels = results.of_steps(rows), results.of_inference(rows), results.of_kernels(rows)
    parts = []
    if steps:
        parts += [f"Training steps on {results.machine(steps)}.", _steps(steps)]
        parts += ["Milliseconds of our step by phase, under the profiler.", _phases(steps)]
        parts += ["MiB that training takes beyond weights and optimiser state.", _memory(steps)]
    if threads := results.of_threads(rows):
        parts += [f"What threads keep of one thread's ratio, on {results.machine(threads)}.", _threads(threads)]
    if gpus := results.of_gpus(rows):
        names = "; ".join(sorted({f"{row['gpu']}, PyTorch {row['torch']}" for row in gpus}))
        parts += [f"Training steps on {names}.", _gpus(gpus)]
    if predictions:
        parts += [f"Inference from packed files on {results.machine(predictions)}.", _inference(predictions)]
    if kernels:
        parts += [f"Kernels on {results.machine(kernels)}: slowest to fastest over all cases.", _kernels(kernels)]
    return "\n\n".join(parts or ["No results yet: `make bench` measures them."])


def put(page: Path, tables: str, *, begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the markers of a page.

    Raises:
        BenchmarkError: it has no such markers.
    """
    text = page.read_text()
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise BenchmarkError(f"{page} has no lines {begin!r} and {end!r}")
    page.write_text(f"{before}{begin}\n\n{tables}\n\n{end}{after}")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int) -> str:
    """A table whose columns line up in a terminal too; those from ``numbers_from`` on to the right."""
    widths = [max(len(line[number]) for line in (columns, *rows)) for number in range(len(columns))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if number >= numbers_from else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + ":" if number >= numbers_from else "-" * width for number, width in enumerate(widths)]
    return "\n".join([line(columns), line(rule), *(line(row) for row in rows)])


def _steps(rows: Sequence[results.Row]) -> str:
    columns = ("network", "kernels", "baseline", "format", "PyTorch ms", "ours ms", "ratio", "of minima")
    cells = [
        (
            results.title(row),
            row["isa"],
            row["baseline"],
            row["baseline_format"],
            f"{row['baseline_ms']:.1f}",
            f"{row['ours_ms']:.1f}",
            f"{row['ratio']:.2f}x",
            f"{row['ratio_of_minima']:.2f}x",
        )
        for row in rows
    ]
    return markdown(columns, cells, 4)


def _threads(rows: Sequence[results.Row]) -> str:
    columns = ("network", "kernels", "baseline", "1 thread", "PyTorch ms", "ours ms", "ratio", "kept")
    cells = [
        (
            results.title(row) + (", busy" if row.get("busy") else ""),
            row["isa"],
            row["baseline"],
            f"{row['one_thread']['ratio']:.2f}x",
            f"{row['baseline_ms']:.1f}",
            f"{row['ours_ms']:.1f}",
            f"{row['ratio']:.2f}x",
            f"{row['kept']:.0%}",
        )
        for row in rows
    ]
    return markdown(columns, cells, 3)


def _gpus(rows: Sequence[results.Row]) -> str:
    columns = ("network", "kernels", "PyTorch fp32 ms", "PyTorch bf16 ms", "ours ms", "to fp32", "to bf16")
    cells = [
        (
            results.title(row),
            row["isa"],
            *(f"{row[name]:.2f}" for name in ("torch_fp32_ms", "torch_bf16_ms", "ours_ms")),
            *(f"{row[name]:.2f}x" for name in ("ratio_fp32", "ratio_bf16")),
        )
        for row in rows
    ]
    return markdown(columns, cells, 2)


def _phases(rows: Sequence[results.Row]) -> str:
    phases = {(results.title(row), row["isa"]): row["phases"] for row in rows}
    cells = [(*names, *(f"{found[phase]:.1f}" for phase in PHASES)) for names, found in phases.items()]
    return markdown(("network", "kernels", *PHASES), cells, 2)


def _memory(rows: Sequence[results.Row]) -> str:
    memory = {(results.title(row), row["isa"]): (row["train_memory"], row["peak_rss_ratio"]) for row in rows}
    sides = ("ours", "torch-fp32", "torch-bf16")
    cells = [
        (
            *names,
            *(f"{found[side]['step'] / _MEBIBYTE:.0f}" if side in found else "–" for side in sides),
            f"{ratio:.2f}",
        )
        for names, (found, ratio) in memory.items()
    ]
    return markdown(("network", "kernels", *sides, "ours / fp32"), cells, 2)


def _inference(rows: Sequence[results.Row]) -> str:
    columns = (
        *("network", "kernels", "baseline", "format", "baseline ms", "ours ms", "ratio", "of minima"),
        *("baseline MiB", "ours MiB"),
    )
    cells = [
        (
            results.title(row),
            row["isa"],
            row["baseline"],
            row["baseline_format"],
            f"{row['baseline_ms']:.1f}",
            f"{row['ours_ms']:.1f}",
            f"{row['ratio']:.2f}x",
            f"{row['ratio_of_minima']:.2f}x",
            *(f"{row['file_bytes'][side] / _MEBIBYTE:.1f}" for side in ("baseline", "ours")),
        )
        for row in rows
    ]
    return markdown(columns, cells, 4)


def _kernels(rows: Sequence[results.Row]) -> str:
    columns: tuple[str, ...] = ("operation", "kernels", "unit", "slowest", "fastest", "least share")
    peaks_known = any(row.get("share_of_peak") is not None for row in rows)
    if peaks_known:
        columns = (*columns, "most of peak")
    cells = []
    for (operation, isa, unit), group in groupby(
        sorted(rows, key=lambda row: (row["operation"], row["isa"])),
        key=lambda row: (row["operation"], row["isa"], row["unit"]),
    ):
        found = list(group)
        figures = [row["figure"] for row in found]
        least = min(row["share_of_best"] for row in found)
        line = (operation, isa, unit, f"{min(figures):.1f}", f"{max(figures):.1f}", f"{least:.0%}")
        shares = [row["share_of_peak"] for row in found if row.get("share_of_peak") is not None]
        of_peak = (f"{max(shares):.0%}" if shares else "–",) if peaks_known else ()
        cells.append((*line, *of_peak))
    return markdown(columns, cells, 3)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.table", description="Print results as Markdown tables.")
    parser.add_argument("files", nargs="*", type=Path, metavar="RESULTS.json", help="default: those of make bench")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="put the tables between this page's markers")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    tables = render(results.read(given.files or results.stored()))
    if given.write is not None:
        put(given.write, tables)
    sys.stdout.write(tables + "\n")


if __name__ == "__main__":
    run("benchmarks.table", main)
