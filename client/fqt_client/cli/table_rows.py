"""Rows of a CSV file as a model of trees takes them: by column name, each value of its column's kind."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from fqt_client.errors import LocalFileError
from fqt_client.models import Model

_MISSING = {"", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?"}


def read_rows(path: Path, model: Model) -> list[dict[str, Any]]:
    """The rows of a file; columns that the model does not know are left out.

    Raises:
        LocalFileError: it cannot be read, or has a word where the model's column holds numbers.
    """
    kinds = {column["name"]: column["kind"] for column in model.architecture.get("columns") or []}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t|", key=head.count))
            rows = [
                {name: _value(row[name], kind, number, name) for name, kind in kinds.items() if name in row}
                for number, row in enumerate(reader, 1)
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LocalFileError(f"cannot read {path}: {error}") from error
    if rows and not rows[0]:
        raise LocalFileError(
            f"{path} has none of the model's columns",
            remedy=f"its first line names them: {', '.join(list(kinds)[:20])}",
        )
    return rows


def _value(text: str | None, kind: str, number: int, name: str) -> Any:
    if text is None or text.strip() in _MISSING:
        return None
    if kind == "category":
        return text.strip()
    if kind == "boolean" and text.strip().lower() in {"true", "false"}:
        return text.strip().lower() == "true"
    try:
        return float(text)
    except ValueError:
        raise LocalFileError(f"row {number}: column {name!r} holds {kind}s, not {text[:40]!r}") from None
