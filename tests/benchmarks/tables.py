"""Reading the tables that benchmarks write."""

from __future__ import annotations


def squeezed(table: str) -> str:
    """The table without the spaces that line its columns up."""
    return "\n".join(" ".join(line.split()) for line in table.splitlines())
