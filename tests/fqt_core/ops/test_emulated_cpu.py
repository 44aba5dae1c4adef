"""The installed extension on processors that have less than this one: not switched off, but not there.

The emulator's CPUID says what the model has, and an instruction of any other kind ends the process; each run shows that
too. Nehalem, of 2008, has no AVX at all; NumPy, and so the project, runs on nothing older. Haswell has AVX2 alone.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fqt_core import ops
from fqt_core.verification.comparison import results
from tests.fqt_core.all_cases import drawn
from tests.programs import program

pytestmark = [pytest.mark.elsewhere, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[3]
EXAMPLES = 6
MODELS = {"Nehalem": ("portable",), "Haswell": ("portable", "avx2")}
"""Processors, and the instruction sets that our kernels find there."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the child found on each processor, on cases of every operation with the reference's results from here."""
    if platform.machine() != "x86_64":
        pytest.skip("the extension of this machine has no instruction sets to leave out")
    emulator = program("qemu-x86_64", "qemu-user")
    cases = [
        (name, arguments, results(operation.reference, arguments))
        for name, operation in ops.OPERATIONS.items()
        for arguments in drawn(name, EXAMPLES)
    ]
    file = tmp_path_factory.mktemp("emulated") / "cases.pt"
    torch.save(cases, file)
    child = [sys.executable, "-m", "tests.fqt_core.ops.emulated_child", str(file)]
    environment = {**os.environ, "FQT_ISA": "auto", "OMP_NUM_THREADS": "1"}
    running = {
        model: subprocess.Popen(
            [emulator, "-cpu", model, *child],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for model in MODELS
    }
    found = {}
    for model, process in running.items():
        out, err = process.communicate()
        assert process.returncode == 0, out + err
        found[model] = json.loads(out)
    return found


@pytest.mark.parametrize(("model", "sets"), MODELS.items())
def test_the_best_that_is_there_is_chosen(
    model: str, sets: tuple[str, ...], reports: dict[str, dict[str, Any]]
) -> None:
    report = reports[model]
    assert report["isa"] == sets[-1]
    assert report["usable"] == list(sets)
    assert set(report["serving"]) <= set(sets)
    assert report["torch"] == ("AVX2" if "avx2" in sets else "DEFAULT")


@pytest.mark.parametrize(("model", "sets"), MODELS.items())
def test_every_kernel_that_is_left_equals_the_reference(
    model: str, sets: tuple[str, ...], reports: dict[str, dict[str, Any]]
) -> None:
    assert reports[model]["wrong"] == []
    for name in ops.OPERATIONS:
        assert reports[model]["ran"][f"{name}.portable"] >= 1
    assert {kernel.partition(".")[2] for kernel in reports[model]["ran"]} == set(sets)


@pytest.mark.parametrize(("model", "sets"), MODELS.items())
def test_what_is_not_there_is_refused_and_would_crash(
    model: str, sets: tuple[str, ...], reports: dict[str, dict[str, Any]]
) -> None:
    """Which shows that the emulator holds the kernels to the model's instructions."""
    signals = reports[model]["signals"]
    assert reports[model]["refused"] == [isa for isa in signals if isa not in sets]
    assert signals == {isa: 0 if isa in sets else -signal.SIGILL for isa in signals}
