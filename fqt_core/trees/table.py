"""Tables: columns of numbers, truth values and words, read from CSV or Parquet within limits.

A file is taken for a table by what it begins with: Parquet's magic number, or text whose first line has at least two
fields. What a column is, is settled by all of its values.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fqt_core.config.class_names import LONGEST_CLASS_NAME
from fqt_core.config.table import LONGEST_COLUMN_NAME, MOST_COLUMNS
from fqt_core.data.faults import Faults, fatal

Kind: TypeAlias = Literal["number", "boolean", "category"]
Format: TypeAlias = Literal["csv", "parquet"]
Floats: TypeAlias = npt.NDArray[np.float64]

PARQUET_MAGIC = b"PAR1"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_PEEKED = 64 * 1024
_DELIMITERS = ",;\t|"
_MARKUP = (b"<", b"{", b"[")  # web pages and JSON have commas too
_NO_TEXT = frozenset(range(32)) - {*b"\t\n\r\f"}


@dataclass(frozen=True)
class TableLimits:
    """Bounds of one table. ``row_bytes``: of one line of a CSV file; ``decoded_bytes``: a Parquet file's content."""

    rows: int = 20_000_000
    columns: int = MOST_COLUMNS
    cells: int = 200_000_000
    categories: int = 1000
    row_bytes: int = 8 * 2**20
    decoded_bytes: int = 4 * 2**30


DEFAULT_LIMITS = TableLimits()


@dataclass(frozen=True)
class Column:
    """``values``: float64 (rows,), of a category its number in ``categories`` (sorted words); NaN: missing."""

    name: str
    kind: Kind
    values: Floats
    categories: tuple[str, ...] = ()

    def labels(self, values: Iterable[float]) -> list[str]:
        """What stands in the table for such values of this column."""
        if self.kind == "category":
            return [self.categories[int(value)] for value in values]
        if self.kind == "boolean":
            return ["true" if value else "false" for value in values]
        return [str(int(value)) if float(value).is_integer() else repr(float(value)) for value in values]


@dataclass(frozen=True)
class Table:
    """Columns of equal length. ``skipped``: of the columns that cannot be learned from, why not."""

    format: Format
    rows: int
    columns: Mapping[str, Column]
    skipped: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def table_format(path: Path | str) -> Format | None:
    """What kind of table a file is, by its beginning; ``None``: it is none, or no file."""
    path = Path(path)
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(_PEEKED)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    if head.startswith(_UTF16):
        return "csv"
    line = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    if line.lstrip()[:1] in _MARKUP:
        return None
    if not _NO_TEXT.isdisjoint(head) or max(line.count(delimiter.encode()) for delimiter in _DELIMITERS) == 0:
        return None
    return "csv"


def read_table(path: Path | str, limits: TableLimits = DEFAULT_LIMITS) -> Table:
    """Read a table of either format.

    Raises:
        DataError: with every fault that was found (up to 20) in ``.faults``.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    kind = table_format(path)
    if kind is None:
        if not path.exists():
            raise FileNotFoundError(path)
        raise fatal("is no table", remedy="give a CSV file with a line of column names, or a Parquet file")
    # Only now: Arrow takes a while to load.
    from fqt_core.trees.arrow import read_csv, read_parquet  # noqa: PLC0415

    return read_csv(path, limits) if kind == "csv" else read_parquet(path, limits)


def csv_header(path: Path, limits: TableLimits) -> tuple[str, list[str]]:
    """Delimiter and column names of a CSV file.

    Raises:
        DataError: the encoding is not UTF-8, or the line of names cannot be used.
    """
    with path.open("rb") as file:
        head = file.read(limits.row_bytes)
    if head.startswith(_UTF16):
        raise fatal("is encoded as UTF-16", remedy="save it as UTF-8")
    line = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].rstrip(b"\r")
    if len(line) >= limits.row_bytes - 3:
        raise fatal(f"its first line is longer than {limits.row_bytes:,} bytes", remedy="check where lines end")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise fatal("its column names are not encoded as UTF-8", remedy="save it as UTF-8") from None
    by_delimiter = {delimiter: _fields(text, delimiter) for delimiter in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda one: len(by_delimiter[one]))
    return delimiter, by_delimiter[delimiter]


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def check_names(names: list[str], limits: TableLimits) -> None:
    """Whether columns may have these names.

    Raises:
        DataError: with every fault.
    """
    if len(names) > limits.columns:
        raise fatal(f"{len(names):,} columns; the limit is {limits.columns:,}", remedy="leave columns out")
    faults, seen = Faults(), set[str]()
    for number, name in enumerate(names, start=1):
        where = f"column {number}"
        if not name.strip():
            faults.add(where, "has no name", "the first line names every column")
        elif len(name) > LONGEST_COLUMN_NAME:
            faults.add(where, f"has a name of more than {LONGEST_COLUMN_NAME} characters", "shorten it")
        elif any(not character.isprintable() for character in name):
            faults.add(where, "has control characters in its name", "rename it")
        elif name in seen:
            faults.add(where, f"has the same name as another one: {name!r}", "give each column a name of its own")
        seen.add(name)
    faults.raise_if_any()


def all_whole(values: Floats) -> bool:
    """Whether all of these are whole numbers; infinity is none."""
    return bool(np.all(np.isfinite(values)) and np.all(values == np.round(values)))


def too_long_for_a_category(words: Iterable[str]) -> bool:
    """Whether any of these is a text rather than the name of something."""
    return any(len(word) > LONGEST_CLASS_NAME for word in words)
