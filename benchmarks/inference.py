"""Inference from packed files, against PyTorch and onnxruntime: ``python -m benchmarks.inference --help``.

Each side lives in a process of its own and they take turns, so that only one runs at any moment. The figures of a row,
one row per batch size and baseline:

``ours_ms``, ``baseline_ms``
    Medians of one call, in milliseconds; ``ours_min_ms`` and ``baseline_min_ms`` are the minima. ``ratio`` is
    ``baseline_ms / ours_ms``, ``ratio_of_minima`` the same of the minima.
``baseline_format``
    The baseline's variant that won its trial.
``file_bytes``
    By side (``ours``, ``baseline``): the size of the model's file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.cli import Parser, number, run, say
from benchmarks.machine import cpu_name
from benchmarks.pipes import Pipe
from benchmarks.setting import Setting
from benchmarks.step import comparison

SIDES = ("torch-fp32", "onnxruntime-int8")
"""The baselines."""

_METHOD = "fqt"
"""Of ours. Files of all binarising methods run in the same way."""


def measure(setting: Setting, repeats: int) -> list[results.Row]:
    """Measure our side and the baselines, in turns.

    Raises:
        BenchmarkError: it cannot be done.
    """
    with ExitStack() as stack:
        pipes = [stack.enter_context(_pipe(side, setting)) for side in ("ours", *SIDES)]
        for pipe in pipes:
            pipe.tell("load")
        facts = {pipe.side: pipe.hear() for pipe in pipes}
        for pipe in pipes:
            facts[pipe.side] |= pipe.ask("prepare")
        for side in SIDES:
            say(f"  {side}: {facts[side]['format']}")
        times: dict[str, list[float]] = {pipe.side: [] for pipe in pipes}
        for _ in range(repeats):
            for pipe in pipes:
                times[pipe.side] += pipe.ask("predict")["ms"]
    return [
        {
            **_identity(setting, facts["ours"]),
            **comparison(side, facts[side], times["ours"], times[side]),
            "file_bytes": {"ours": facts["ours"]["file_bytes"], "baseline": facts[side]["file_bytes"]},
            "cpu": cpu_name(),
            "repeats": repeats,
        }
        for side in SIDES
    ]


def _pipe(side: str, setting: Setting) -> Pipe:
    method = _METHOD if side == "ours" else ""
    return Pipe(side, setting, method=method, keep_pages=True, module="benchmarks.predict_child")


def _identity(setting: Setting, facts: dict[str, Any]) -> results.Row:
    return {
        "model": setting.model,
        "method": _METHOD,
        "image_size": setting.image_size,
        "batch": setting.batch,
        "threads": setting.threads,
        "isa": facts["isa"],
        "isa_requested": setting.isa,
        "torch": facts["torch"],
        "torch_capability": facts["capability"],
        "keeps_pages": facts["keeps_pages"],
    }


def lines(rows: Sequence[results.Row]) -> list[str]:
    """What a person reads, a line per row."""
    return [
        f"batch {row['batch']}: {row['isa']} {row['ours_ms']:.1f} ms, {row['baseline']} ({row['baseline_format']}) "
        f"{row['baseline_ms']:.1f} ms: {row['ratio']:.2f}x, {row['ratio_of_minima']:.2f}x of minima"
        for row in rows
    ]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.inference", description="Measure inference from a packed file, in turns.")
    parser.add_argument("--model", default="resnet18", help="vgg16 or resnet18")
    parser.add_argument("--image-size", type=number, default=224, help="pixels; from 65 the stem is that of ImageNet")
    parser.add_argument(
        "--batch", type=number, action="append", help="images per call; may be given several times (default: 1 and 32)"
    )
    parser.add_argument("--threads", type=number, default=1)
    parser.add_argument("--isa", default="auto", help="auto, reference, portable, avx2 or avx512, as in FQT_ISA")
    parser.add_argument("--repeats", type=number, default=7, help="turns of each side")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    batches = dict.fromkeys(given.batch or [1, 32])
    rows: list[results.Row] = []
    for setting in [Setting(given.model, given.image_size, batch, given.threads, given.isa) for batch in batches]:
        say(setting.title())
        rows += measure(setting, given.repeats)
    sys.stdout.write("\n".join(lines(rows)) + "\n")
    if given.json is not None:
        results.write(given.json, rows)


if __name__ == "__main__":
    run("benchmarks.inference", main)
