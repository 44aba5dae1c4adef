"""Writes the table of stored results into ``docs/performance.md``: ``python -m benchmarks.service.page``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.cli import Parser, run
from benchmarks.pipes import ROOT
from benchmarks.table import markdown, put

BEGIN = "<!-- python -m benchmarks.service.page: begin -->"
END = "<!-- python -m benchmarks.service.page: end -->"
PAGE = ROOT / "docs" / "performance.md"


def render(rows: Sequence[results.Row]) -> str:
    """The table."""
    machines = "; ".join(sorted({f"{row['cpu']}, {row['cores']} cores" for row in rows}))
    cells = [
        (
            row["what"],
            row["database"],
            f"{row['value']:,.3g} {row['unit']}" if row["value"] < 1000 else f"{row['value']:,.0f} {row['unit']}",
            "–" if row["most"] is None else f"{row['most']:g} {row['unit']}",
        )
        for row in rows
    ]
    table = markdown(("measured", "database", "figure", "at most"), cells, 2)
    return f"Everything on one machine: {machines}.\n\n{table}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = Parser(prog="benchmarks.service.page", description="Write the table of the service under load anew.")
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args(arguments)
    table = render(results.of_service(results.read(results.stored())))
    put(given.page, table, begin=BEGIN, end=END)
    sys.stdout.write(table + "\n")


if __name__ == "__main__":
    run("benchmarks.service.page", main)
