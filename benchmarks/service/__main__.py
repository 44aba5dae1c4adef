"""The command: ``python -m benchmarks.service [--part PART…] [--json FILE]``.

With ``--part`` only these are measured, and a file that is there keeps the rows of the others.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.cli import Parser, run, say
from benchmarks.service import (
    bystanders,
    claims,
    ingestion,
    overhead,
    page,
    predictions,
    recovery,
    redelivery,
    streams,
    submissions,
)

PARTS: dict[str, Callable[[], list[results.Row]]] = {
    "claims": claims.measure,
    "submissions": submissions.measure,
    "streams": streams.measure,
    "bystanders": bystanders.measure,
    "predictions": predictions.measure,
    "ingestion": ingestion.measure,
    "recovery": recovery.measure,
    "redelivery": redelivery.measure,
    "overhead": overhead.measure,
}


def measure(parts: Sequence[str], path: Path | None) -> list[results.Row]:
    """Measure these parts; with a path, write the file after each, the rows of other parts as they were."""
    kept = results.read([path]) if path is not None and path.exists() else []
    for part in parts:
        say(part)
        found = PARTS[part]()
        kept = [row for row in kept if row["part"] != part] + found
        kept.sort(key=lambda row: list(PARTS).index(row["part"]))
        if path is not None:
            results.write(path, kept)
    return kept


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.service", description="Measure the service under load.")
    parser.add_argument("--part", action="append", choices=PARTS, help="measure this one; again for more; default: all")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of what ends the servers
    sys.stdout.write(page.render(measure(given.part or list(PARTS), given.json)) + "\n")


if __name__ == "__main__":
    run("benchmarks.service", main)
