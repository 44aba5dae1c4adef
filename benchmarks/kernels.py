"""The native kernels by themselves, each row of the kernel table: ``python -m benchmarks.kernels --help``.

A kernel runs on each case of its operation (:mod:`fqt_core.verification.cases`), and its fastest call counts: GMAC/s
for products, GB/s for all others.

``share_of_peak``, of products, is that figure divided by ``peak_gmacs``: what the instructions that the kernel is made
of compute on registers alone, measured in the same run (:mod:`benchmarks.peaks`), times the threads. ``share_of_best``
is the figure divided by the best one of the same kernel over all cases, among them one that the second-level cache
holds: what is lost to the shape and to memory, not to the kernel's own design.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks import peaks, results
from benchmarks.cli import Parser, number, run, say
from benchmarks.errors import BenchmarkError
from benchmarks.machine import cpu_name
from fqt_core import ops
from fqt_core.allocator import keep_pages
from fqt_core.ops import native
from fqt_core.verification.cases import CASES, LAYERS, Case, Layer
from fqt_core.verification.equality import moved
from fqt_core.verification.report import name_of
from fqt_core.verification.speed import fastest

GPU = "cuda"
"""Stands for an instruction set in rows of kernels that run on a GPU."""

_SEED = 0


def rows_of(isa: str | None) -> list[tuple[str, str]]:
    """Rows of the kernel table, in its operations' order: of one instruction set, of those chosen by ``auto``, or all.

    Where there is a GPU, its kernels are among them, as those of ``cuda``.

    Raises:
        BenchmarkError: there are none, or one has no case.
    """
    chosen = {operation.name: operation.isa for operation in ops.OPERATIONS.values()}
    table = [
        (name, row) for name, row in native.KERNELS if isa in {None, row} or (isa == "auto" and chosen[name] == row)
    ]
    if isa in {None, "auto", GPU} and torch.cuda.is_available():
        table += [(name, GPU) for name in native.CUDA_KERNELS]
    if not table:
        known = ", ".join(sorted({row for _, row in native.KERNELS}))
        raise BenchmarkError(
            f"there are no native kernels for {isa or 'any instruction set'}; available: {known or 'none'}"
        )
    missing = sorted({name for name, _ in table} - set(CASES))
    if missing:
        raise BenchmarkError(f"no benchmark case for {', '.join(missing)}; add it to fqt_core/verification/cases")
    order, sets = list(CASES), (*native.INSTRUCTION_SETS, GPU)
    return sorted(table, key=lambda row: (order.index(row[0]), sets.index(row[1])))


def measure(
    table: Sequence[tuple[str, str]],
    repeats: int,
    layers: Sequence[Layer] = LAYERS,
    progress: Callable[[str], None] = say,
) -> list[results.Row]:
    """Measure rows of the kernel table, ordered by operation, and the peaks of the units that they use.

    Raises:
        BenchmarkError: the peaks cannot be measured.
    """
    of_units = peaks.measure(isa for isa in native.INSTRUCTION_SETS if isa in {isa for _, isa in table})
    progress("  peaks of one thread: " + ", ".join(f"{unit} {gmacs:.0f} GMAC/s" for unit, gmacs in of_units.items()))
    common = {"threads": torch.get_num_threads(), "cpu": cpu_name(), "torch": torch.__version__, "repeats": repeats}
    rows: list[results.Row] = []
    for operation, group in groupby(table, key=lambda row: row[0]):
        sets = [isa for _, isa in group]
        progress(f"  {operation}: {', '.join(sets)}")
        for layer in layers:
            torch.manual_seed(_SEED)
            for case in CASES[operation](layer):
                for isa in sets:
                    row = _row(operation, isa, layer, case, _fastest(native.kernel(operation, isa), isa, case, repeats))
                    where = {"cpu": name_of(torch.device(GPU))} if isa == GPU else {}
                    rows.append({**row, **_peak(isa, case, row["figure"], of_units), **common, **where})
    return _with_shares(rows)


def _fastest(kernel: Callable[..., Any], isa: str, case: Case, repeats: int) -> float:
    device = torch.device("cuda" if isa == GPU else "cpu")
    arguments = tuple(moved(value, device) for value in case.arguments)
    return fastest(lambda: kernel(*arguments), repeats, device)


def _row(operation: str, isa: str, layer: Layer, case: Case, ms: float) -> results.Row:
    product = case.macs > 0
    return {
        "operation": operation,
        "isa": isa,
        "layer": layer.name,
        "variant": case.variant,
        "unit": "GMAC/s" if product else "GB/s",
        "work": case.macs if product else case.bytes,
        "ms": round(ms, 5),
        "figure": round((case.macs or case.bytes) / ms / 1e6, 3),
    }


def _peak(isa: str, case: Case, figure: float, of_units: dict[str, float]) -> results.Row:
    """The peak of a product's unit and the share that was reached; nothing is known of a GPU and other operations."""
    if not case.macs or isa == GPU:
        return {"peak_gmacs": None, "share_of_peak": None}
    peak = peaks.peak_of(isa, case.bits, of_units) * torch.get_num_threads()
    return {"peak_gmacs": round(peak, 3), "share_of_peak": round(figure / peak, 3)}


def _with_shares(rows: Sequence[results.Row]) -> list[results.Row]:
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["operation"], row["isa"]
        best[key] = max(best.get(key, 0.0), row["figure"])
    return [{**row, "share_of_best": round(row["figure"] / best[row["operation"], row["isa"]], 3)} for row in rows]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.kernels", description="Measure the native kernels by themselves.")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--isa", help="one instruction set, cuda, or auto: those that serve here (default: all)")
    parser.add_argument("--operation", action="append", help="only this one; may be given several times")
    parser.add_argument("--repeats", type=number, default=10, help="calls of each case, at most")
    parser.add_argument("--threads", type=number, default=1)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    wanted = set(given.operation or CASES)
    if wanted - set(CASES):
        raise BenchmarkError(f"operation {min(wanted - set(CASES))!r} is unknown; use one of {', '.join(CASES)}")
    table = [row for row in rows_of(given.isa) if row[0] in wanted]
    keep_pages()
    torch.set_num_threads(given.threads)
    rows = measure(table, given.repeats)
    for row in rows:
        variant = f" ({row['variant']})" if row["variant"] else ""
        of_peak = "" if row["share_of_peak"] is None else f"{row['share_of_peak']:.0%}"
        sys.stdout.write(
            f"{row['operation']:24} {row['isa']:9} {row['ms']:9.3f} ms {row['figure']:9.2f} {row['unit']:6} "
            f"{of_peak:>4} of peak {row['share_of_best']:4.0%} of best  {row['layer']}{variant}\n"
        )
    if given.json is not None:
        results.write(given.json, rows)


if __name__ == "__main__":
    run("benchmarks.kernels", main)
