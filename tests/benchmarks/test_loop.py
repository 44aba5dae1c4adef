"""One epoch of a job's loop, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import loop


def test_the_loop_is_measured_against_its_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FQT_ISA", "auto")  # which the command sets, and which is put back afterwards
    path = tmp_path / "loop.json"
    loop.main(["--model", "resnet18", "--image-size", "8", "--batch", "2", "--steps", "3", "--json", str(path)])
    (row,) = json.loads(path.read_text())
    assert (row["model"], row["method"], row["image_size"], row["batch"], row["steps"]) == ("resnet18", "fqt", 8, 2, 3)
    assert row["loop_ms"] > 0
    assert row["overhead"] == pytest.approx(row["loop_ms"] / row["step_ms"] - 1)
    assert 0 < row["checkpoint_ms"] < row["loop_ms"] * row["steps"]
    assert "in a job's loop" in capsys.readouterr().out
