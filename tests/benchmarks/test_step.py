"""A whole measurement, small: what the JSON promises, and what is said when it cannot be made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import step
from benchmarks.child import Child
from benchmarks.cli import run
from benchmarks.errors import BenchmarkError
from benchmarks.networks import FORMATS, fast_bfloat16
from benchmarks.phases import PHASES
from benchmarks.pipes import Pipe
from benchmarks.setting import Setting, parse_method
from fqt_core import ops

PROMISED = {
    "model",
    "method",
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
    "peak_rss_ratio",
    "train_memory",
    "phases",
    "cpu",
    "torch",
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of one baseline: each takes two processes, and bf16 differs by a flag (below)."""
    path = tmp_path_factory.mktemp("step") / "folder" / "step.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "SIDES", ("torch-fp32",))
        step.main(["--model", "resnet18", "--image-size", "8", "--batch", "2", "--repeats", "1", "--json", str(path)])
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def test_the_file_holds_what_is_promised(rows: list[dict[str, Any]]) -> None:
    assert [row["baseline"] for row in rows] == ["torch-fp32"]
    for row in rows:
        assert row.keys() >= PROMISED
        assert (row["model"], row["method"], row["image_size"], row["batch"]) == ("resnet18", "fqt", 8, 2)
        assert row["isa"] == ops.isa()
        assert row["baseline_format"] in {"contiguous", "channels_last"}


def test_figures_fit_each_other(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert 0 < row["ours_min_ms"] <= row["ours_ms"]
        assert 0 < row["baseline_min_ms"] <= row["baseline_ms"]
        assert row["ratio"] == pytest.approx(row["baseline_ms"] / row["ours_ms"], rel=0.01)
        assert set(row["phases"]) == set(PHASES)
        assert all(row["phases"][phase] > 0 for phase in ("products", "quantising", "optimiser", "torch", "rest"))


def test_memory_is_told_by_side(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        memory = row["train_memory"]
        assert memory.keys() == {"ours", "torch-fp32"}
        for side in memory.values():
            assert side["step"] == side["peak"] - side["before"] - side["optimizer"]
            assert side["optimizer"] > 0
        ratio = memory["ours"]["step"] / memory["torch-fp32"]["step"]
        assert row["peak_rss_ratio"] == pytest.approx(ratio, rel=0.01)


def test_bfloat16_trains_where_onednn_has_it() -> None:
    child = Child({"side": "torch-bf16", "setting": Setting("resnet18", 8, 2).to_json(), "method": ""})
    facts = child.load()
    assert ("skipped" in facts) is not fast_bfloat16()
    if fast_bfloat16():
        assert child.prepare()["format"] in FORMATS
        assert child.step()["ms"] > 0


def test_a_child_tells_why_it_is_gone() -> None:
    with (
        Pipe("ours", Setting("vgg16", 8, 2, isa="sse9"), method="fqt", keep_pages=True) as pipe,
        pytest.raises(BenchmarkError, match=r"ours \(fqt\): .*FQT_ISA='sse9' is unknown; use one of auto, reference"),
    ):
        pipe.ask("load")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--model", "lenet"], "model 'lenet' is unknown; use one of convnet, resnet18, vgg16"),
        (["--model", "vgg16", "--method", "qat2"], "method 'qat2'"),
        (["--model", "vgg16", "--method", "fqt3"], "method 'fqt3': Input should be 1, 2, 4, 8 or 'auto'"),
        (["--model", "vgg16", "--method", "magic"], "method 'magic' is unknown; use one of fp32, qat, psq, fqt"),
        (["--model", "vgg16", "--batch", "0"], "--batch: '0' is not a whole number from 1"),
        (["--model", "vgg16", "--batch", "5000"], "batch_size: Input should be less than or equal to 4096"),
        (["--model", "vgg16", "--image-size", "7"], "image_size: Input should be greater than or equal to 8"),
        (["--batch", "2"], "the following arguments are required: --model"),
    ],
)
def test_bad_arguments_give_one_line(
    arguments: list[str], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["step", *arguments])
    with pytest.raises(SystemExit) as left:
        run("benchmarks.step", step.main)
    assert left.value.code
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert lines[0].startswith("benchmarks.step: error: ")
    assert named in lines[0]


def test_methods_have_short_names() -> None:
    assert parse_method("fqt").model_dump()["bits"] == 4
    assert parse_method("fqt-b2").model_dump()["bits"] == 2
    assert parse_method("psq8").arithmetic == "integer"
    assert parse_method("int8").name == "unified-int8"
    assert parse_method("qat").name == "qat"


def test_large_images_get_the_published_stem() -> None:
    assert Setting("resnet18", 32, 2).architecture.stem == "small"
    assert Setting("resnet18", 224, 2).architecture.stem == "imagenet"


def test_files_end_where_they_are_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "measure", lambda *_: [])
    step.main(["--model", "vgg16", "--json", str(tmp_path / "none.json")])
    assert json.loads((tmp_path / "none.json").read_text()) == []
