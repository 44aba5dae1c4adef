"""What a table holds and what is wrong with it, as a JSON-able record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fqt_core.config.table import MOST_CLASSES, MOST_WHOLE_NUMBERS
from fqt_core.data.faults import MAX_FAULTS, Faults
from fqt_core.errors import DataError
from fqt_core.trees.table import DEFAULT_LIMITS, Column, Table, TableLimits, all_whole, read_table, table_format

_NARROW = 200


def profile_table(path: Path | str, *, limits: TableLimits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Read a table once and describe it.

    Returns:
        ``format`` (``csv`` or ``parquet``), ``table`` (null if it cannot be read): ``{"rows", "columns"}``, each column
        with ``name``, ``kind`` (``number``, ``boolean``, ``category``, or ``skipped``), ``missing`` (rows),
        ``distinct`` (different values), ``whole`` (all of them whole numbers), ``min``, ``max``, ``mean`` (of numbers),
        ``values`` (``[{"value", "count"}]``: of classes, if there are at most 100, or 20 in a table of more than 200
        columns; else null) and ``reason`` (why it is skipped); ``warnings``, ``faults`` and ``complete`` as of
        :func:`fqt_core.data.profile`.

    Raises:
        FileNotFoundError: there is no such file. Bad data never raises: it is in ``faults``.
    """
    faults = Faults()
    table: Table | None = None
    try:
        table = read_table(path, limits)
    except DataError as error:
        faults.absorb(error)
    return {
        "format": table_format(path),
        "table": None if table is None else {"rows": table.rows, "columns": _columns(table)},
        "warnings": [] if table is None else list(table.warnings),
        "faults": [{"where": f.where, "message": f.message, "remedy": f.remedy} for f in faults.found],
        "complete": len(faults.found) < MAX_FAULTS,
    }


def _columns(table: Table) -> list[dict[str, Any]]:
    most = MOST_CLASSES if len(table.columns) <= _NARROW else MOST_WHOLE_NUMBERS
    skipped = [{"name": name, "kind": "skipped", "reason": reason} for name, reason in table.skipped.items()]
    return [_column(column, most) for column in table.columns.values()] + skipped


def _column(column: Column, most: int) -> dict[str, Any]:
    known = column.values[~np.isnan(column.values)]
    distinct, counts = np.unique(known, return_counts=True)
    found: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "missing": len(column.values) - len(known),
        "distinct": len(distinct),
        "whole": all_whole(distinct),
        "values": None,
    }
    if len(distinct) <= most:
        names = column.labels(distinct)
        found["values"] = [{"value": name, "count": int(count)} for name, count in zip(names, counts, strict=True)]
    if column.kind == "number":
        finite = known[np.isfinite(known)]
        if len(finite):
            found |= {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}
    return found
