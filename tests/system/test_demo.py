"""`fqt demo` as `make demo` runs it: a real service, real jobs, real images, a model at the end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.service.running import FQT, environment, fqt, wait_until_gone


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_ends_with_a_model_that_works(tmp_path: Path) -> None:
    run = fqt(tmp_path, "demo", "--dir", "out", timeout=800)
    assert run.returncode == 0, run.stdout + run.stderr
    out = tmp_path / "out"
    summary = json.loads((out / "summary.json").read_text())
    before, after = summary["jobs"]
    assert (before["method"], after["method"]) == ("qat", "fqt")
    assert after["record"]["arithmetic"] == "integer"
    assert after["accuracy"] > 0.6
    assert summary["held_out"]["images"] == 100
    assert summary["held_out"]["accuracy"] > 0.6
    assert after["fp32_bytes"] > 8 * (out / "model.safetensors").stat().st_size
    with Image.open(out / "predictions.png") as sheet:
        assert sheet.size == (1280, 400)

    # The table and the line to go on with; the command that it names does what it says.
    assert "fqt fine-tuning" in run.stdout
    assert "fqt predict out/model.safetensors out/held-out" in run.stdout
    predicted = fqt(tmp_path, "predict", "out/model.safetensors", "out/held-out", "--json")
    labels = {Path(entry["image"]).name: entry["label"] for entry in json.loads(predicted.stdout)["predictions"]}
    told = {Path(entry["image"]).name: entry["predicted"] for entry in summary["held_out"]["predictions"]}
    assert labels == told

    # The user's own configuration was left alone, and nobody is left.
    assert not (tmp_path / ".config").exists()
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(out) in _command(process)]


def test_ctrl_c_in_the_middle_of_a_job_leaves_nobody(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*FQT, "demo", "--json"],
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("data", {}).get("kind") == "step":
            break
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4  # broker, API, worker and the training child
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert wait_until_gone(family) == []


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    run = fqt(tmp_path, "demo", "--dir", "out")
    assert run.returncode == 5
    assert "out is not empty" in run.stderr
    assert run.stderr.count("\n") == 1


def _command(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])
