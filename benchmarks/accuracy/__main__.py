"""The command; see :mod:`benchmarks.accuracy`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import results
from benchmarks.accuracy import table
from benchmarks.accuracy.comparison import Comparison
from benchmarks.accuracy.points import chosen
from benchmarks.accuracy.protocols import PROTOCOLS, Protocol
from benchmarks.cli import Parser, number, run
from benchmarks.errors import BenchmarkError
from benchmarks.pipes import ROOT


def _nets(protocol: Protocol, names: str) -> list[str]:
    if names == "all":
        return list(protocol.networks)
    unknown = [name for name in names.split(",") if name not in protocol.networks]
    if unknown:
        known = ", ".join(protocol.networks)
        raise BenchmarkError(f"net {', '.join(unknown)} is unknown; protocol {protocol.name!r} has {known}")
    return names.split(",")


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.split(","))
    except ValueError:
        rates = ()
    if not rates or not all(0 < rate < math.inf for rate in rates):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers above 0, such as 1e-3,3e-3")
    return tuple(dict.fromkeys(rates))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.accuracy", description="Fine-tune with several methods, and compare accuracies.")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="digits")
    parser.add_argument("--nets", default="all", help="networks of the protocol, comma-separated")
    parser.add_argument("--methods", default="all", help="methods (see benchmarks/accuracy/points.py), comma-separated")
    parser.add_argument("--seeds", type=number, default=3, help="runs of each, pre-training included")
    parser.add_argument("--grid-seeds", type=number, help="seeds that learning rates are chosen on; by default all")
    parser.add_argument("--rates", type=_rates, help="instead of the protocol's learning rates (SGD keeps its own)")
    parser.add_argument("--threads", type=number, default=1, help="threads of each run")
    parser.add_argument("--parallel", type=number, default=1, help="runs at the same time")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "accuracy", help="folder of the runs")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    protocol = PROTOCOLS[given.protocol]
    if given.rates:
        protocol = replace(protocol, rates=given.rates)
    nets, points = _nets(protocol, given.nets), chosen(given.methods)
    root = given.work / protocol.name
    comparison = Comparison(
        protocol,
        nets,
        points,
        given.seeds,
        root,
        threads=given.threads,
        parallel=given.parallel,
        grid_seeds=given.grid_seeds,
    )
    rows = comparison.rows()
    if given.json is not None:
        results.write(given.json, rows)
    sys.stdout.write(table.render(rows) + "\n")


if __name__ == "__main__":
    run("benchmarks.accuracy", main)
