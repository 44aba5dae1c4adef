"""Tables are read as they are, or refused with every fault in words; hostile ones within limits."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from fqt_core.errors import DataError
from fqt_core.trees.profile import profile_table
from fqt_core.trees.table import TableLimits, read_table, table_format

CONTENT = """\ufeffnumber;truth;word;late;note;empty
1;TRUE;b;7;;
2.5;false; a ;8;"quoted; with ""marks""
and a line";
-3e2;;b;many;x;
"""
TABLE = {"number": [1, 2.5, -300], "truth": [1, 0, None], "word": [1, 0, 1]}


def _values(path: Path) -> dict[str, list[float | None]]:
    table = read_table(path)
    return {
        name: [None if np.isnan(value) else value for value in column.values] for name, column in table.columns.items()
    }


def test_columns_are_what_all_of_their_values_are(tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_text(CONTENT)
    table = read_table(path)
    assert (table.format, table.rows) == ("csv", 3)
    assert {name: column.kind for name, column in table.columns.items()} == {
        "number": "number",
        "truth": "boolean",
        "word": "category",
        "late": "category",
        "note": "category",
    }
    assert {name: _values(path)[name] for name in TABLE} == TABLE
    assert table.columns["word"].categories == ("a", "b")
    assert table.columns["note"].labels([0.0]) == ['quoted; with "marks"\nand a line']
    assert table.skipped == {"empty": "it has no values"}
    long = "x,y\n" + "1,w\n" * 30 + "oops,w\n"
    path.write_text(long)
    assert "row 31 has 'oops'" in read_table(path).warnings[0]


def test_parquet_says_what_its_columns_are(tmp_path: Path) -> None:
    path = tmp_path / "any"
    columns = {
        "number": pa.array([1, 2.5, -300]),
        "truth": pa.array([True, False, None]),
        "word": pa.array(["b", "a", "b"]).dictionary_encode(),
        "day": [datetime.date(2026, 1, 1)] * 3,
    }
    pyarrow.parquet.write_table(pa.table(columns), path)
    assert table_format(path) == "parquet"
    assert _values(path) == TABLE
    assert read_table(path).skipped == {"day": "it holds date32[day], not numbers, truth values or words"}
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cannot be read .*cut off, damaged"):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "where", "message"),
    [
        (b"a,b\n1,2\n1\n1,2,3\n", ["line 3", "line 4"], "1 fields, but there are 2 columns"),
        (b"a,b\n" + b"1\n" * 50, [f"line {n}" for n in range(2, 22)], "1 fields"),
        (b"a,b\n1,\xff\xfe\n", [""], "invalid UTF8"),
        (b"\xe9,b\n1,2\n", [""], "column names are not encoded as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), [""], "UTF-16"),
        (b"a,b\n", [""], "has no rows"),
        (b"a,a,,\x7f\n1,2,3,4\n", ["column 2", "column 3", "column 4"], "the same name"),
        (b"a,b,c,d,e,f\n1,2,3,4,5,6\n", [""], "6 columns; the limit is 5"),
        (b"a,b\n" + b"1,2\n" * 101, [""], "more than 100 rows"),
        (b"a,b,c,d\n" + b"1,2,3,4\n" * 60, [""], "more than 200 values"),
        (b'a,b\n1,"' + b"x" * 5000, [""], "cannot be read"),
        (b"a,b\n" + b"1,2" + b"0" * 5000 + b"\n", [""], "cannot be read"),
    ],
)
def test_faults_are_told_all_at_once(tmp_path: Path, content: bytes, where: list[str], message: str) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    limits = TableLimits(rows=100, columns=5, cells=200, row_bytes=2048)
    found = profile_table(path, limits=limits)
    assert [fault["where"] for fault in found["faults"]] == where
    assert message in found["faults"][0]["message"]
    assert (found["table"], found["complete"]) == (None, len(where) < 20)


def test_other_files_are_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "any"
    for content in (
        b"",
        b"PK\x03\x04, and",
        b"\x1f\x8b,,",
        b"GIF89a,\x00",
        b"hello\nyou,there\n",
        b"<p>a,b</p>\n",
        b'{"a": 1, "b": 2}',
    ):
        path.write_bytes(content)
        assert table_format(path) is None
    assert table_format(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "nothing")


def test_a_profile_counts(tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_text("n,k,w\n1,1,a\n2.5,1,b\n,3,a\n")
    found = profile_table(path)
    assert found["table"] == {
        "rows": 3,
        "columns": [
            {
                "name": "n",
                "kind": "number",
                "missing": 1,
                "distinct": 2,
                "whole": False,
                "values": [{"value": "1", "count": 1}, {"value": "2.5", "count": 1}],
                "min": 1.0,
                "max": 2.5,
                "mean": 1.75,
            },
            {
                "name": "k",
                "kind": "number",
                "missing": 0,
                "distinct": 2,
                "whole": True,
                "values": [{"value": "1", "count": 2}, {"value": "3", "count": 1}],
                "min": 1.0,
                "max": 3.0,
                "mean": 5 / 3,
            },
            {
                "name": "w",
                "kind": "category",
                "missing": 0,
                "distinct": 2,
                "whole": True,
                "values": [{"value": "a", "count": 2}, {"value": "b", "count": 1}],
            },
        ],
    }
    assert (found["format"], found["faults"], found["complete"]) == ("csv", [], True)
