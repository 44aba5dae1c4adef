"""One thread and several, in one run, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import results, table, threads
from benchmarks.errors import BenchmarkError
from benchmarks.setting import Setting
from fqt_core import ops


def test_the_file_holds_both_ratios_and_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "threads.json"
    size = ["--image-size", "8", "--batch", "2", "--repeats", "1", "--baseline", "torch-fp32"]
    threads.main(["--model", "resnet18", *size, "--busy", "--json", str(path)])
    (row,) = json.loads(path.read_text())
    assert (row["model"], row["threads"], row["isa"], row["baseline"]) == ("resnet18", 2, ops.isa(), "torch-fp32")
    for figures in (row, row["one_thread"]):
        assert figures["ratio"] == pytest.approx(figures["baseline_ms"] / figures["ours_ms"], rel=0.01)
    assert row["kept"] == pytest.approx(row["ratio"] / row["one_thread"]["ratio"], rel=0.01)
    assert row["kept_in_turns"] == pytest.approx([row["kept"]] * 3, rel=0.01)  # of a single turn
    assert row["busy"] is True
    assert "% kept" in capsys.readouterr().out
    assert results.of_threads([row]) == [row]
    assert results.of_steps([row]) == []
    kept = f"{row['kept']:.0%}"
    for busy, title in ((True, "resnet18 8x8, batch 2, 2 threads, fqt, busy "), (False, "2 threads, fqt ")):
        tables = table.render([{**row, "busy": busy}])
        assert title in tables
        assert kept in tables


def test_a_turn_says_what_it_kept_by_itself() -> None:
    several = [4.0, 5.0, 8.0], [40.0, 40.0, 40.0]
    kept = threads.kept_in_turns([8.0, 8.0, 16.0], [80.0, 80.0, 80.0], *several)
    assert kept == pytest.approx([0.9, 1.0, 1.0])  # of 1.0, 0.8 and 1.0
    assert threads.kept_in_turns([8.0], [80.0], [5.0], [40.0]) == pytest.approx([0.8] * 3)


def test_one_thread_is_nothing_to_compare_with_one() -> None:
    with pytest.raises(BenchmarkError, match="--threads must be at least 2, got 1"):
        threads.measure(Setting("vgg16", 8, 2), "fqt", 1)
