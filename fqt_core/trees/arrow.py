"""Reads CSV and Parquet files through Arrow, whose parsers are made to stop at the limits of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from fqt_core.data.faults import WHOLE_FILE, Faults, fatal
from fqt_core.errors import DataError
from fqt_core.trees.table import (
    Column,
    Format,
    Table,
    TableLimits,
    check_names,
    csv_header,
    too_long_for_a_category,
)

_MISSING = ["", "NA", "N/A", "#N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "?"]
_TRUTHS = ("false", "true")
_SHOWN = 80
_NEARLY_ALL = 0.9
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_PARQUET_ROWS = 65_536


@contextmanager
def _damage_reported() -> Iterator[None]:
    """Turn what Arrow raises on what it cannot read into :class:`DataError`."""
    try:
        yield
    except MemoryError:  # Arrow's own is one, and an ArrowException besides
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0][:300]
        remedy = "the file is cut off, damaged, or of another encoding than UTF-8; write it again"
        raise fatal(f"cannot be read ({reason})", remedy=remedy) from error


def read_csv(path: Path, limits: TableLimits) -> Table:
    """Read a CSV file with a line of names: UTF-8, fields between commas, semicolons, tabulators or bars.

    Raises:
        DataError: it cannot be used.
    """
    delimiter, names = csv_header(path, limits)
    check_names(names, limits)
    faults = Faults()

    def ragged(row: Any) -> str:
        where = WHOLE_FILE if row.number is None else f"line {row.number}"
        text = f"{row.actual_columns} fields, but there are {row.expected_columns} columns"
        try:
            faults.add(where, text, "give every line the same number of fields, and quote fields that hold a delimiter")
        except DataError:  # enough of them; Arrow swallows what is raised here
            return "error"
        return "skip"

    try:
        table = _read_csv(path, delimiter, names, ragged, limits)
    except DataError:
        faults.raise_if_any()
        raise
    faults.raise_if_any()
    return _table("csv", table, limits)


def _read_csv(
    path: Path, delimiter: str, names: list[str], ragged: Callable[[Any], str], limits: TableLimits
) -> pa.Table:
    with _damage_reported():
        reader = pyarrow.csv.open_csv(
            path,
            # One thread: only then are lines numbered.
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=limits.row_bytes),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=ragged
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=_MISSING,
                strings_can_be_null=True,
            ),
        )
        return _bounded(reader, names, limits)


def read_parquet(path: Path, limits: TableLimits) -> Table:
    """Read a Parquet file; columns of other than numbers, truth values and words are skipped.

    Raises:
        DataError: it cannot be used.
    """
    with _damage_reported(), pyarrow.parquet.ParquetFile(path) as file:
        names = list(file.schema_arrow.names)
        check_names(names, limits)
        _check_size(file.metadata.num_rows, len(names), limits)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > limits.decoded_bytes:
            raise fatal(f"holds more than {limits.decoded_bytes:,} bytes", remedy="leave rows or columns out")
        table = _bounded(file.iter_batches(batch_size=_PARQUET_ROWS), names, limits, file.schema_arrow)
    return _table("parquet", table, limits)


def _bounded(batches: Iterable[pa.RecordBatch], names: list[str], limits: TableLimits, schema: Any = None) -> pa.Table:
    """All batches, as long as they are within the limits."""
    rows = size = 0
    kept = []
    for batch in batches:
        rows += batch.num_rows
        size += batch.nbytes
        _check_size(rows, len(names), limits)
        if size > limits.decoded_bytes:
            raise fatal(f"holds more than {limits.decoded_bytes:,} bytes", remedy="leave rows or columns out")
        kept.append(batch)
    if rows == 0:
        raise fatal("has no rows", remedy="give at least some rows beneath the column names")
    return pa.Table.from_batches(kept, schema)


def _check_size(rows: int, columns: int, limits: TableLimits) -> None:
    if rows > limits.rows:
        raise fatal(f"more than {limits.rows:,} rows", remedy="take a sample of it")
    if rows * columns > limits.cells:
        raise fatal(f"more than {limits.cells:,} values", remedy="leave rows or columns out")


def _table(format: Format, table: pa.Table, limits: TableLimits) -> Table:
    columns: dict[str, Column] = {}
    skipped: dict[str, str] = {}
    warnings: list[str] = []
    for name in table.column_names:
        found = _column(name, table.column(name), limits, warnings)
        if isinstance(found, Column):
            columns[name] = found
        else:
            skipped[name] = found
    warnings += [f"column {name!r} cannot be learned from: {reason}" for name, reason in skipped.items()]
    return Table(format, table.num_rows, columns, skipped, tuple(warnings))


def _column(name: str, values: pa.ChunkedArray, limits: TableLimits, warnings: list[str]) -> Column | str:
    """The column, or why it is skipped."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if values.null_count == len(values):
        return "it has no values"
    if pa.types.is_boolean(kind):
        return Column(name, "boolean", _floats(values))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Column(name, "number", _floats(values))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _words(name, values, limits, warnings)
    return f"it holds {kind}, not numbers, truth values or words"


def _words(name: str, values: pa.ChunkedArray, limits: TableLimits, warnings: list[str]) -> Column | str:
    words = pc.utf8_trim_whitespace(values)
    numeric = pc.match_substring_regex(words, _NUMBER)
    present = len(words) - words.null_count
    numbers = pc.sum(numeric).as_py() or 0
    if numbers == present:
        return Column(name, "number", _floats(words))
    lower = pc.utf8_lower(words)
    if pc.all(pc.is_in(lower.drop_null(), pa.array(_TRUTHS))).as_py():
        return Column(name, "boolean", _floats(pc.equal(lower, _TRUTHS[1])))
    if numbers > _NEARLY_ALL * present:
        row = pc.index(pc.fill_null(numeric, True), False).as_py()
        text = f"column {name!r} reads as words, for not all of its values are numbers: row {row + 1} has"
        warnings.append(f"{text} {words[row].as_py()[:_SHOWN]!r}")
    distinct = pc.unique(words.drop_null())
    if len(distinct) > limits.categories:
        return f"it holds {len(distinct):,} different words; at most {limits.categories:,} are taken for categories"
    categories = sorted(distinct.to_pylist())
    if too_long_for_a_category(categories):
        return "it holds texts, not categories"
    numbers_of = pc.index_in(words, pa.array(categories, words.type))
    return Column(name, "category", _floats(numbers_of), tuple(categories))


def _floats(values: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """float64, NaN where there is no value."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    floats = pc.fill_null(array.cast(pa.float64(), safe=False), float("nan"))
    return np.asarray(floats.to_numpy(zero_copy_only=False), np.float64)
