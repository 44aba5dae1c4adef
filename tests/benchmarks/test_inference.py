"""A whole measurement of inference, small: what the JSON promises, and what is said when it cannot be made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import inference
from benchmarks.cli import run
from benchmarks.predictors import CLASSES, Packed, TorchFp32
from benchmarks.setting import Setting, parse_method
from fqt_core import ops

PROMISED = {
    "model",
    "image_size",
    "batch",
    "threads",
    "isa",
    "baseline",
    "baseline_format",
    "baseline_ms",
    "baseline_min_ms",
    "ours_ms",
    "ours_min_ms",
    "ratio",
    "ratio_of_minima",
    "file_bytes",
    "cpu",
    "torch",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("inference") / "folder" / "inference.json"
    inference.main(["--image-size", "8", "--batch", "2", "--repeats", "1", "--json", str(path)])
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def test_the_file_holds_what_is_promised(rows: list[dict[str, Any]]) -> None:
    assert [row["baseline"] for row in rows] == ["torch-fp32", "onnxruntime-int8"]
    for row in rows:
        assert row.keys() >= PROMISED
        assert (row["model"], row["image_size"], row["batch"], row["isa"]) == ("resnet18", 8, 2, ops.isa())


def test_figures_fit_each_other(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert 0 < row["ours_min_ms"] <= row["ours_ms"]
        assert 0 < row["baseline_min_ms"] <= row["baseline_ms"]
        assert row["ratio"] == pytest.approx(row["baseline_ms"] / row["ours_ms"], rel=0.01)


def test_files_are_as_small_as_their_numbers(rows: list[dict[str, Any]]) -> None:
    sizes = {row["baseline"]: row["file_bytes"]["baseline"] for row in rows}
    assert sizes["torch-fp32"] > 3.5 * sizes["onnxruntime-int8"]
    assert sizes["onnxruntime-int8"] > 2 * rows[0]["file_bytes"]["ours"]


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_variants_agree(tmp_path: Path) -> None:
    setting = Setting("resnet18", 8, 2)
    with torch.inference_mode():
        found = {name: call() for name, call in TorchFp32(setting, tmp_path).variants()}
        assert len(found) == 5
        for logits in found.values():
            torch.testing.assert_close(logits, found["contiguous"], rtol=1e-3, atol=1e-3)


def test_ours_runs_from_its_file(tmp_path: Path) -> None:
    predictor = Packed(Setting("resnet18", 8, 2), parse_method("fqt"), tmp_path)
    assert predictor.file_bytes == (tmp_path / "model.fqt").stat().st_size
    ((_, call),) = predictor.variants()
    logits = call()
    assert logits.shape == (2, CLASSES)
    assert torch.isfinite(logits).all()


def test_bad_arguments_give_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["inference", "--model", "lenet"])
    with pytest.raises(SystemExit):
        run("benchmarks.inference", inference.main)
    assert capsys.readouterr().err == (
        "benchmarks.inference: error: model 'lenet' is unknown; use one of convnet, resnet18, vgg16\n"
    )
