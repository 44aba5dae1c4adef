"""Chosen runs of a comparison once more, as jobs of a service of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.accuracy import service, table
from benchmarks.accuracy.comparison import Comparison
from benchmarks.accuracy.points import chosen
from benchmarks.accuracy.protocols import PROTOCOLS
from tests.benchmarks.accuracy.test_comparison import SMALL
from tests.benchmarks.tables import squeezed


def test_chosen_runs_make_the_same_weights_as_jobs_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_rate = replace(SMALL, rates=(3e-3,))
    rows = Comparison(one_rate, ["plain"], chosen("systematic"), 1, tmp_path / "digits").rows()
    monkeypatch.setitem(PROTOCOLS, "digits", one_rate)
    service.repeat(rows, tmp_path, 1)
    (row,) = rows
    assert row["job_same_weights"]
    assert row["job_test"] == row["test"]
    assert squeezed(table.render(rows)).splitlines()[-1].endswith("| same weights |")
    row["job_same_weights"] = False
    assert squeezed(table.render(rows)).splitlines()[-1].endswith(f"| {100 * row['test']:.1f} |")
