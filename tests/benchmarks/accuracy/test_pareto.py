"""The front of accuracy against speed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import page, pareto
from benchmarks.errors import BenchmarkError
from benchmarks.setting import parse_method
from tests.benchmarks.tables import squeezed


def _accuracy(method: str, test: float, seed: int = 0) -> dict[str, Any]:
    fixed = {"protocol": "digits", "net": "plain", "arithmetic": "integer", "cpu_seconds": 1.0, "val": 0.5}
    return {**fixed, "method": method, "learning_rate": 1e-3, "seed": seed, "test": test}


def _step(method: str, ratio: float, isa: str = "avx2", baseline: str = "torch-fp32") -> dict[str, Any]:
    return {"model": "vgg16", "image_size": 32, "method": method, "isa": isa, "baseline": baseline, "ratio": ratio}


ACCURACY = [_accuracy("qat", 0.9), _accuracy("psq8", 0.89), _accuracy("systematic", 0.8), _accuracy("topk", 0.7)]
STEPS = [
    *(_step("psq8", 5), _step("systematic", 12), _step("topk", 12), _step("systematic", 6, baseline="torch-bf16")),
    *(_step("psq8", 3, isa="portable"), _step("fp32", 1)),
]


def test_a_method_that_is_slower_and_less_accurate_than_another_is_not_on_the_front() -> None:
    found = pareto.trades(ACCURACY, STEPS)
    assert [(t.isa, t.method) for t in found] == [
        ("avx2", "systematic"),
        ("avx2", "topk"),
        ("avx2", "psq8"),
        ("portable", "psq8"),
    ]
    assert [t.gap for t in found] == pytest.approx([10, 20, 1, 1])
    assert [t.method for t in pareto.front(found[:3])] == ["systematic", "psq8"]
    table = squeezed(pareto.render(found))
    assert "| vgg16 32x32 | avx2 | digits, plain | `topk` | 12.0 | 20.0 | |" in table


def test_equal_points_are_both_on_the_front() -> None:
    twins = [pareto.Trade("vgg16 32x32", "avx2", "plain", name, 4.0, 1.0) for name in ("one", "other")]
    assert pareto.front(twins) == twins


def test_the_command_draws_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"accuracy": ACCURACY, "steps": STEPS}
    for name, rows in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    arguments = [part for name in files for part in (f"--{name}", str(tmp_path / f"{name}.json"))]
    pareto.main([*arguments, "--out", str(tmp_path / "out.png")])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "`psq8`" in capsys.readouterr().out


def test_nothing_in_common_is_told(tmp_path: Path) -> None:
    assert pareto.trades(ACCURACY, [_step("fp32", 1)]) == []
    for name, rows in {"accuracy": ACCURACY, "steps": [_step("fp32", 1)]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    with pytest.raises(BenchmarkError, match="no method has both"):
        pareto.main(["--accuracy", str(tmp_path / "accuracy.json"), "--steps", str(tmp_path / "steps.json")])


def test_the_page_is_written_from_results(tmp_path: Path) -> None:
    page_file = tmp_path / page.PAGE
    page_file.write_text(f"# Title\n\n{page.BEGIN}\nold\n{page.END}\n\nend\n")
    curve = {"curve": [{"step": 1, "loss": 2.0}], "epochs": [{"cpu_seconds": 8.0, "val": 0.8}]}
    wide = [row | curve | {"protocol": "fashion-vgg16", "net": "vgg16"} for row in ACCURACY]
    page.write([*ACCURACY, *wide, *STEPS], tmp_path)
    text = squeezed(page_file.read_text())
    assert text.startswith("# Title")
    assert text.endswith("end")
    assert "old" not in text
    assert "`systematic`" in text
    assert "| vgg16 32x32 | avx2 |" in text
    assert "| digits, plain |" not in text
    assert "| vgg16 | `qat` | 8 s | 8 s | 8 s |" in text
    for picture in ("accuracy-digits.png", "curves-fashion-vgg16.png", "pareto.png"):
        assert f"({picture})" in text
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BenchmarkError, match="no accuracies yet"):
        page.write(STEPS, tmp_path)


def test_a_step_takes_the_names_of_the_comparison() -> None:
    assert parse_method("keep2-b8").model_dump()["keep"] == 0.5
