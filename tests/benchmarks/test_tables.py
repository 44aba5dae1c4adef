"""The tables, the chart, and the page that they are written to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import __main__ as suite
from benchmarks import chart, results, table
from benchmarks.cli import run
from benchmarks.errors import BenchmarkError
from benchmarks.phases import PHASES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


def step_row(baseline: str, ratio: float, method: str = "fqt") -> dict[str, Any]:
    side = {"before": 9 << 20, "peak": 50 << 20, "optimizer": 1 << 20, "step": 40 << 20}
    return {
        "model": "vgg16",
        "method": method,
        "image_size": 32,
        "batch": 128,
        "threads": 1,
        "isa": "avx512",
        "baseline": baseline,
        "baseline_format": "channels_last",
        "baseline_ms": 100 * ratio,
        "baseline_min_ms": 90 * ratio,
        "ours_ms": 100.0,
        "ours_min_ms": 90.0,
        "ratio": ratio,
        "ratio_of_minima": ratio,
        "peak_rss_ratio": 1.0,
        "train_memory": {"ours": side, "torch-fp32": side},
        "phases": dict.fromkeys(PHASES, 1.5),
        "cpu": "A processor",
        "torch": "2.13.0",
    }


STEPS = [step_row("torch-fp32", 12.34), step_row("torch-bf16", 5.0), step_row("torch-fp32", 9.0, "psq8")]
PREDICTION = {
    **step_row("onnxruntime-int8", 1.5),
    "baseline_format": "QDQ",
    "file_bytes": {"ours": 4 << 20, "baseline": 11 << 20},
}
KERNEL = {
    "operation": "pack_sign",
    "isa": "avx512",
    "unit": "GB/s",
    "figure": 12.0,
    "share_of_best": 0.5,
    "cpu": "A processor",
    "torch": "2.13.0",
}


def test_tables_hold_the_figures() -> None:
    text = table.render([*STEPS, PREDICTION, KERNEL])
    assert "A processor, PyTorch 2.13.0" in text
    assert "12.34x" in text
    assert "pack_sign" in text
    assert text.count("onnxruntime-int8") == 1
    assert "11.0 |" in text
    assert all(phase in text for phase in PHASES)
    widths = {len(line) for line in text.split("\n\n")[1].splitlines()}
    assert len(widths) == 1


def test_shares_of_the_peak_are_shown_where_there_are_any() -> None:
    assert "most of peak" not in table.render([KERNEL])
    product = {**KERNEL, "operation": "binary_conv2d", "unit": "GMAC/s", "share_of_peak": 0.83}
    text = table.render([KERNEL, product, {**product, "share_of_peak": 0.7}])
    assert "most of peak" in text
    assert "83%" in text
    assert "70%" not in text


def test_the_page_is_what_the_results_give() -> None:
    text = PAGE.read_text()
    between = text.partition(table.BEGIN)[2].partition(table.END)[0]
    assert between.strip() == table.render(results.read(results.stored()))


def test_a_page_keeps_what_is_around_the_tables(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    for _ in range(2):
        table.put(page, "new")
        assert page.read_text() == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
    page.write_text("no markers")
    with pytest.raises(BenchmarkError, match="has no lines"):
        table.put(page, "new")


def test_the_chart_is_a_picture(tmp_path: Path) -> None:
    results.write(tmp_path / "steps.json", STEPS)
    chart.main([str(tmp_path / "steps.json"), "--out", str(tmp_path / "chart.png")])
    with Image.open(tmp_path / "chart.png") as image:
        assert image.width > 600


def test_rows_are_told_apart() -> None:
    rows = [*STEPS, PREDICTION, KERNEL]
    assert results.of_steps(rows) == STEPS
    assert results.of_inference(rows) == [PREDICTION]
    assert results.of_kernels(rows) == [KERNEL]


def test_files_are_named_by_what_was_measured() -> None:
    assert suite.inference_file_name(PREDICTION) == "inference-vgg16-32-128-1-avx512-fqt.json"
    assert suite.file_name(STEPS[0]) == "vgg16-32-128-1-avx512-fqt.json"


@pytest.mark.parametrize(
    ("content", "named"),
    [("{", "is not JSON"), ('{"a": 1}', "holds no results"), ("[1]", "holds no results"), ("[]", "no training steps")],
)
def test_bad_files_give_one_line(
    content: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.json"
    path.write_text(content)
    monkeypatch.setattr(sys, "argv", ["chart", str(path), "--out", str(tmp_path / "chart.png")])
    with pytest.raises(SystemExit) as left:
        run("benchmarks.chart", chart.main)
    assert left.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert named in error
