"""A comparison from drawing the images to the table, in small; and what it makes of its rows."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import comparison as comparison_module
from benchmarks.accuracy import data, runs, table
from benchmarks.accuracy.comparison import Comparison, chosen_rates
from benchmarks.accuracy.points import POINTS, chosen
from benchmarks.accuracy.protocols import PROTOCOLS
from benchmarks.errors import BenchmarkError
from fqt_core.config import Convnet
from fqt_core.data import load_dataset

SMALL = replace(
    PROTOCOLS["digits"],
    networks={"plain": Convnet(image_size=16, channels=1, width=0.25)},
    train_images=320,
    pretraining_epochs=1,
    epochs=1,
    rates=(1e-4, 3e-3),
)


def test_parts_share_no_image_and_the_test_is_the_same_for_all_seeds(tmp_path: Path) -> None:
    def images(part: Any) -> set[bytes]:
        return {image.tobytes() for image in part.images}

    tests, trained = [], []
    for seed in (0, 1):
        parts = data.prepare(SMALL, 16, seed, tmp_path)
        after = load_dataset(parts.after, classes=SMALL.after, channels=1, image_size=16)
        assert after.validation is not None
        assert (len(after), len(after.validation)) == (320, 150)
        assert len(parts.test) == round(0.3 * 896)
        groups = [images(after), images(after.validation), images(parts.test)]
        assert len(set.union(*groups)) == sum(map(len, groups))
        tests.append(groups[2])
        trained.append(groups[0])
    assert tests[0] == tests[1]
    assert trained[0] != trained[1]


def test_a_small_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = Comparison(SMALL, ["plain"], chosen("fp32,systematic"), 1, tmp_path)
    rows = comparison.rows()
    assert len(rows) == 4
    assert {row["method"]: row["isa"] == "torch" for row in rows} == {"fp32": True, "systematic": False}
    for method in ("fp32", "systematic"):
        mine = [row for row in rows if row["method"] == method]
        best = max(mine, key=lambda row: row["val"])
        assert best["test"] is not None
        assert [row["test"] for row in mine if row is not best] == [None]
        assert best["epochs"][0]["val"] == best["val"]
    assert json.loads(json.dumps(rows)) == rows
    assert len(table.render(rows).splitlines()) == 4
    # What was trained is not trained again.
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a run was repeated"))
    assert comparison.rows() == rows


def test_rates_are_chosen_on_some_seeds_and_the_others_are_trained_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = Comparison(SMALL, ["plain"], chosen("qat"), 3, tmp_path, grid_seeds=1)

    def train(one: runs.Run, _: Path) -> dict[str, Any]:
        fixed = {"seconds": 1.0, "images_per_second": 1.0, "isa": "avx2", "arithmetic": "float", "weights_sha256": ""}
        better = one.training.learning_rate == 3e-3
        return {**fixed, "val": 0.9 if better else 0.8, "epochs": [{"cpu_seconds": 1.0}]}

    monkeypatch.setattr(runs.Run, "train", train)
    monkeypatch.setattr(comparison_module, "test_accuracy", lambda *_: 0.5)
    found = [(row["seed"], row["learning_rate"], row["test"]) for row in comparison.rows()]
    assert found == [(0, 1e-4, None), (0, 3e-3, 0.5), (1, 3e-3, 0.5), (2, 3e-3, 0.5)]


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    (run,) = {
        trial.run for trial in Comparison(replace(SMALL, rates=(1e-4,)), ["plain"], chosen("qat"), 1, tmp_path).trials
    }
    assert run.start is not None
    with pytest.raises(BenchmarkError, match=f"run {run.digest} .qat. failed: .*weights.safetensors"):
        run.train(tmp_path)
    assert not (run.folder(tmp_path) / runs.RESULT).exists()


def _row(method: str, rate: float, seed: int, val: float, test: float | None = None) -> dict[str, Any]:
    fixed = {"protocol": "digits", "net": "plain", "arithmetic": "integer", "cpu_seconds": 10.0}
    return {**fixed, "method": method, "learning_rate": rate, "seed": seed, "val": val, "test": test}


def test_the_rate_with_the_best_mean_is_chosen_and_the_smaller_of_equals() -> None:
    rows = [_row("fqt", rate, seed, val) for rate, seed, val in ((2, 0, 0.9), (2, 1, 0.5), (1, 0, 0.7), (1, 1, 0.7))]
    rows += [_row("qat", 1, 0, 0.5), _row("qat", 3, 0, 0.6)]
    assert chosen_rates(rows) == [("plain", "fqt", 1), ("plain", "qat", 3)]


def test_gaps_are_between_runs_of_the_same_seed() -> None:
    rows = [
        _row("qat", 1, 0, 0.9, 0.8),
        _row("qat", 1, 1, 0.9, 0.7),
        _row("fqt", 1, 1, 0.9, 0.6),
        _row("fqt", 2, 0, 0.1),
    ]
    qat, fqt = table.summaries(rows)
    assert (qat.gap, fqt.gap) == (0, pytest.approx(10))
    assert qat.test == pytest.approx(75)
    assert qat.deviation == pytest.approx(np.std([80, 70], ddof=1))
    assert fqt.deviation == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "fqt9"], "method fqt9 is unknown; use some of fp32, qat"),
        (["--nets", "vgg"], "net vgg is unknown; protocol 'digits' has plain, bireal"),
    ],
)
def test_unknown_names_are_told(arguments: list[str], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        command.main(arguments)


def test_points_are_named_once_and_say_what_they_are() -> None:
    assert all(point.title and name == point.name for name, point in POINTS.items())
    said = {point.method.model_dump_json() + repr(sorted(point.training.items())) for point in POINTS.values()}
    assert len(said) == len(POINTS)


@pytest.mark.parametrize("rates", ["", "fast", "1e-3,", "0", "-1", "inf", "nan"])
def test_learning_rates_are_numbers_above_zero(rates: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--rates", rates])
    assert "is not a list of numbers above 0, such as 1e-3,3e-3" in capsys.readouterr().err


def test_learning_rates_take_the_place_of_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "digits", SMALL)
    file = tmp_path / "rows.json"
    arguments = ["--methods", "fp32", "--seeds", "1", "--rates", "2e-3", "--work", str(tmp_path), "--json", str(file)]
    command.main(arguments)
    (row,) = json.loads(file.read_text())
    assert row["learning_rate"] == 2e-3
