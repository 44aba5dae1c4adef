"""The tests notice when what makes jobs safe is taken away (:mod:`tests.mutation`)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.mutation import MUTATIONS


def test_without_what_makes_jobs_safe_a_named_test_fails() -> None:
    command = [sys.executable, "-m", "tests.mutation"]
    run = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("\n") == run.stdout.count("noticed: ") == len(MUTATIONS)
