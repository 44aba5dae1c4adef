"""The cost of telemetry, and noise against accuracy, both small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import noise, telemetry
from fqt_core.training.telemetry import PROBE_COST


@pytest.fixture(autouse=True)
def _auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FQT_ISA", "auto")  # which the command sets, and which is put back afterwards


def test_probes_are_timed_against_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cost.json"
    telemetry.main(["--model", "resnet18", "--image-size", "8", "--batch", "32", "--repeats", "1", "--json", str(path)])
    (row,) = json.loads(path.read_text())
    assert (row["images"], row["every"]) == (16, 16 * PROBE_COST * 50 // 32)
    assert row["per_image"] == pytest.approx(2 * row["probe_ms"] / row["step_ms"])
    assert row["share"] == pytest.approx(row["probe_ms"] / row["step_ms"] / row["every"])
    assert "of the time" in capsys.readouterr().out


def test_noise_stands_beside_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "noise.json"
    noise.main(["--epochs", "1", "--only", "2", "9", "--json", str(path)])
    frozen, fqt = json.loads(path.read_text())
    assert (frozen["method"], fqt["method"], fqt["steps"]) == ("frozen", "fqt", 23)
    assert frozen["cosine"] == [1.0] * 5
    assert all(0 < cosine < 1 for cosine in fqt["cosine"])
    assert frozen["accuracy"] > 0.1
    assert len(capsys.readouterr().out.splitlines()) == 2
