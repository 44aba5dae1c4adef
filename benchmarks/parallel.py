"""``python -m benchmarks.parallel``: what more processes bring, against more threads of one process.

Each division of the work is a run of its own; all are gone through in turn, several times, so that whatever else the
machine does meets all of them, and the median of each counts. The batch is that of a step over all processes. Writes a
list with one object per division: the fields of :class:`benchmarks.setting.Setting`, ``method``, ``processes``,
``gradient_bits``, ``isa``, ``images_per_second``, ``speedup`` (against one process of one thread), ``bytes_sent`` and
``full_precision_bytes`` (per step and process).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.cli import Parser, number, run, say
from benchmarks.errors import BenchmarkError
from benchmarks.pipes import ROOT
from benchmarks.setting import Setting, parse_method

_LAUNCH = "import sys; from fqt_core.parallel.launch import launch; launch(sys.argv[2:], int(sys.argv[1]))"


@dataclass(frozen=True)
class Division:
    """Processes, threads of each, and bits of the gradients that they exchange."""

    processes: int
    threads: int
    gradient_bits: int | None = None

    def title(self) -> str:
        """For people."""
        bits = "" if self.processes == 1 else f", gradients at {self.gradient_bits or 32} bits"
        return f"{self.processes} x {self.threads} threads{bits}"


DIVISIONS = (
    Division(1, 1),
    Division(1, 2),
    Division(2, 1),
    Division(2, 1, 8),
    Division(2, 1, 4),
    Division(2, 1, 1),
)


def measure(division: Division, setting: Setting, method: str, steps: int) -> dict[str, Any]:
    """One run.

    Raises:
        BenchmarkError: it failed.
    """
    parallel = {"processes": division.processes, "gradient_bits": division.gradient_bits}
    asked = {
        "setting": replace(setting, threads=division.threads).to_json(),
        "method": method,
        "steps": steps,
        "parallel": parallel if division.processes > 1 else None,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "row.json"
        command = [sys.executable, "-m", "benchmarks.parallel_child", json.dumps(asked), str(path)]
        if division.processes > 1:
            command = [sys.executable, "-c", _LAUNCH, str(division.processes), *command]
        environment = {**os.environ, "OMP_NUM_THREADS": str(division.threads), "FQT_ISA": setting.isa}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode or not path.exists():
            lines = done.stderr.strip().splitlines()
            raise BenchmarkError(f"{division.title()}: {lines[-1] if lines else done.returncode}")
        found: dict[str, Any] = json.loads(path.read_text())
    return found


def compare(
    divisions: Sequence[Division], setting: Setting, method: str, steps: int, rounds: int
) -> list[dict[str, Any]]:
    """A row for each division; the first one is what the others are compared with."""
    found: dict[Division, list[dict[str, Any]]] = {division: [] for division in divisions}
    for turn in range(rounds):
        for division, rows in found.items():
            say(f"round {turn + 1} of {rounds}: {division.title()}")
            rows.append(measure(division, setting, method, steps))
    speeds = {d: statistics.median(row["images_per_second"] for row in rows) for d, rows in found.items()}
    return [
        {
            **replace(setting, threads=division.threads).to_json(),
            "method": method,
            "processes": division.processes,
            "gradient_bits": division.gradient_bits,
            **found[division][0],
            "images_per_second": speed,
            "speedup": speed / speeds[divisions[0]],
        }
        for division, speed in speeds.items()
    ]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for the documentation, in Markdown."""
    lines = ["| processes x threads | gradient bits | images/s | speedup | MB sent per step |", "|---|---|---|---|---|"]
    for row in rows:
        bits = "" if row["processes"] == 1 else str(row["gradient_bits"] or 32)
        sent = "" if row["processes"] == 1 else f"{row['bytes_sent'] / 1e6:.2f}"
        lines.append(
            f"| {row['processes']} x {row['threads']} | {bits} | {row['images_per_second']:.1f} | "
            f"{row['speedup']:.2f} | {sent} |"
        )
    return "\n".join(lines)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.parallel", description="What more processes bring, against more threads.")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--image-size", type=number, default=32)
    parser.add_argument("--batch", type=number, default=128)
    parser.add_argument("--isa", default="auto")
    parser.add_argument("--method", default="fqt")
    parser.add_argument("--steps", type=number, default=8, help="timed steps of a run")
    parser.add_argument("--rounds", type=number, default=3)
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    setting = Setting(given.model, given.image_size, given.batch, 1, given.isa)
    parse_method(given.method)
    rows = compare(DIVISIONS, setting, given.method, given.steps, given.rounds)
    if given.json is not None:
        results.write(given.json, rows)
    sys.stdout.write(f"{setting.model}, {setting.image_size} pixels, batches of {setting.batch}\n{table(rows)}\n")


if __name__ == "__main__":
    run("benchmarks.parallel", main)
