"""Each example runs as it is written, in a process of its own, and its network has learnt something at the end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
LEARNT = {"convert_your_own": 0.7, "fine_tune": 0.8, "export_and_predict": 0.9}
"""The accuracy that the last one that is told reaches at least; guessing has 0.1 or 0.2."""


def test_all_examples_are_run() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(LEARNT)


@pytest.mark.parametrize("name", LEARNT)
def test_an_example_runs_and_learns(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / f"{name}.py")],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = re.findall(r"accuracy ([\d.]+)%", done.stdout)
    assert float(told[-1]) / 100 >= LEARNT[name]
