"""`fqt compare-methods` and `fqt sweep report` against a scripted service: what is asked, and the two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.client.cli.running import Run
from tests.client.fake import Script
from tests.client.sweeps import PATH, SWEEP_ID, answer, report, report_row, sweep

_COST = {
    "images": 64,
    "binary_macs": 2_717_908_992,
    "byte_macs": 0,
    "float_macs": 53_411_840,
    "bytes_moved": 37_620_376,
    "operation_joules": 0.000256,
    "movement_joules": 0.006113,
}
_FIGURES: dict[str, Any] = {
    "arithmetic": "integer",
    "kernels": "avx2",
    "cost": _COST,
    "seconds_per_epoch": {"mean": 1.5, "deviation": 0.25, "count": 2},
    "memory_bytes": {"mean": 104_857_600, "deviation": None, "count": 1},
    "gradient_variance": {"mean": 3.125, "deviation": None, "count": 1},
    "model_bytes": 45_000,
}
_FLOAT = {"arithmetic": "float", "kernels": "torch", "cost": _COST | {"operation_joules": 0.0127}}
_FAILED = report_row("psq | 1", failed=["the loss\nis not finite"])
_REPORT = report(report_row("fqt", 0.75, 0.5, **_FIGURES), _FAILED, report_row("qat", 1.0, **_FLOAT))
_INTEGER, _GREY, _WHISKER = (0x2B, 0x5C, 0x8A), (0x7A, 0x86, 0x94), (0xE0, 0x8A, 0x3C)


@pytest.fixture(autouse=True)
def _service(script: Script) -> None:
    answer(script)
    listed = [{"name": name, "title": name, "summary": "", "options": {}} for name in ("fp32", "fqt")]
    script.on("GET", "/v1/methods", httpx.Response(200, json={"data": listed, "has_more": False}))
    script.on("GET", f"{PATH}/report", httpx.Response(200, json=_REPORT))


def test_all_methods_are_swept_over_seeds_and_reported(fqt: Run, script: Script, tmp_path: Path) -> None:
    files = ["--output", str(tmp_path / "report.md"), "--picture", str(tmp_path / "report.png")]
    options = ["--architecture", "convnet", "--image-size", "16", "--epochs", "2", "--set", "device=cpu"]
    code, out, err = fqt("compare-methods", "digits", *options, "--seeds", "2", *files)
    assert (code, err) == (0, "")
    assert json.loads(script.seen("POST", "/v1/sweeps")[0].content) == {
        "base": {
            "dataset": "digits",
            "architecture": {"name": "convnet", "image_size": 16},
            "training": {"epochs": 2},
            "device": "cpu",
        },
        "space": {
            "method": {"type": "choice", "values": [{"name": "fp32"}, {"name": "fqt"}]},
            "training.seed": {"type": "choice", "values": [0, 1]},
        },
        "name": "methods on digits",
        "algorithm": "grid",
        "parallel": 1,
    }
    assert "rates: finished" in out
    [line] = [line for line in out.splitlines() if line.startswith("fqt ")]
    for cell in ("62.5 ± 17.7 %", "2 of 2", "integer (avx2)", "1.5 s", "2.72 G", "37.6 MB", "256 µJ", "6.37 mJ"):
        assert cell in line
    assert "\npsq | 1, seed 0: failed, the loss is not finite\n" in out

    text = (tmp_path / "report.md").read_text()
    table = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert {len(row) for row in table} == {len(table[0])} == {14}
    assert "![validation accuracy, energy proxy and time](report.png)" in text
    assert "- psq | 1, seed 0: failed, the loss is not finite" in text
    assert '"dataset": "digits"' in text
    with Image.open(tmp_path / "report.png") as picture:
        colours = {colour: count for count, colour in picture.convert("RGB").getcolors(1 << 20) or []}
    # Two jobs at 62.5 %, with a whisker; one at 100 %, whose bar is longer; none where all failed.
    assert colours[_GREY] > colours[_INTEGER] > 10_000
    assert colours[_WHISKER] > 100
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.png"}


def test_methods_are_named_or_described_and_a_failed_sweep_is_reported_too(fqt: Run, script: Script) -> None:
    script.on("GET", PATH, httpx.Response(200, json=sweep(state="failed", reason={"message": "no job succeeded"})))
    given = ["-m", "qat", "-m", '{"name": "fqt", "preset": "fast"}', "--from", "mdl_1", "--json"]
    code, out, _ = fqt("compare-methods", "digits", *given)
    assert (code, json.loads(out)) == (1, _REPORT)
    body = json.loads(script.seen("POST", "/v1/sweeps")[0].content)
    assert body["space"]["method"]["values"] == [{"name": "qat"}, {"name": "fqt", "preset": "fast"}]
    assert body["space"]["training.seed"]["values"] == [0, 1, 2]
    assert body["base"]["initial_weights"] == "mdl_1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "nowhere/report.md"], "cannot write nowhere/report.md: there is no folder nowhere"),
        (["--output", "."], "cannot write .: it is a folder"),
        (["--picture", "report.jpg"], "the picture report.jpg would be no PNG — give it a name that ends in .png"),
    ],
)
def test_what_cannot_be_written_is_told_before_anything_is_made(
    fqt: Run, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("compare-methods", "digits"), ("sweep", "report", SWEEP_ID)):
        assert fqt(*command, *options) == (5, "", f"fqt: {said}\n")
    assert script.requests == []


def test_nothing_half_written_is_left(fqt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = fqt("sweep", "report", SWEEP_ID, "--output", str(tmp_path / "report.md"))
    assert (code, err) == (5, f"fqt: cannot write {tmp_path / 'report.md'}: No space left on device\n")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_a_drawer_names_the_way_out(
    fqt: Run, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.ImageDraw", None)
    code, _, err = fqt("compare-methods", "digits", "--picture", "report.png")
    assert (code, err) == (5, "fqt: Pillow, which draws the picture, is not installed — pip install pillow\n")
    assert script.requests == []
