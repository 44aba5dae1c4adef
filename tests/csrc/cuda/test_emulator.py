"""What the emulator of CUDA blocks (csrc/cuda/emulator) finds: kernels with a fault, real ones with a line changed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from tests.csrc.cuda.emulated import load
from tests.fqt_core.ops.extension import ROOT

pytestmark = pytest.mark.elsewhere

FAULTS = {
    "past_the_end": "thread 63 reads element 64 of 64 in global memory: out of bounds",
    "no_barrier": "reads element 32 of 64 in shared memory: nobody has written it",
    "unwritten": "thread 32 reads element 0 of 64 in shared memory: nobody has written it",
    "barrier_for_some": "some threads wait where the others never come",
    "half_a_warp": "some threads wait where the others never come",
    "between_blocks": "block 1, thread 0 reads element 0 of 64 in global memory: a race with a thread that writes it",
    "between_threads": "thread 1 writes element 0 of 64 in global memory: a race with a thread that (reads|writes) it",
    "unaligned": "words that are accessed at once are not aligned",
}


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    load()


def test_a_kernel_without_a_fault_runs() -> None:
    data = torch.arange(64, dtype=torch.int32)
    torch.ops.fqt_cuda_emulated.run_fault(data, "none")
    assert data.tolist() == [*range(32, 64), *range(32)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_the_launch_and_is_named(fault: str) -> None:
    with pytest.raises(RuntimeError, match=FAULTS[fault]):
        torch.ops.fqt_cuda_emulated.run_fault(torch.arange(64, dtype=torch.int32), fault)


LINES = {
    "pack_sign": (
        "packing.cu",
        "if (i >= samples * words * pixels) return;",
        "if (i > samples * words * pixels) return;",
        "Pack: block 0, thread 20 reads element 700 of 700 in global memory: out of bounds",
    ),
    "binary_linear": (
        "product.h",
        "        t.barrier();\n        if (i + 1 < end * parts)",
        "        if (i + 1 < end * parts)",
        "in shared memory: nobody has written it",
    ),
}
"""Operation: file, a line of its kernel, what takes its place, and what the emulator says then."""


def _compile(folder: Path) -> Path:
    cuda, program = folder / "csrc/cuda", folder / "run_changed"
    used = ("packing.cu", "forward.cu", "channel_moments.cu")
    sources = [*(cuda / name for name in used), *(cuda / "emulator").glob("*.cpp")]
    command = ["c++", "-std=c++17", "-x", "c++", folder / "tests/csrc/cuda/run_changed.cpp", *sources, "-o", program]
    subprocess.run(command, check=True)
    return program


def test_a_wrong_bound_or_a_missing_barrier_in_a_real_kernel_is_found(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "csrc", tmp_path / "csrc")
    (tmp_path / "tests/csrc/cuda").mkdir(parents=True)
    shutil.copy(ROOT / "tests/csrc/cuda/run_changed.cpp", tmp_path / "tests/csrc/cuda")
    for name, right, wrong, _ in LINES.values():
        file = tmp_path / "csrc/cuda" / name
        text = file.read_text()
        assert text.count(right) == 1
        file.write_text(text.replace(right, wrong))
    program = _compile(tmp_path)
    for operation, (_, _, _, said) in LINES.items():
        done = subprocess.run([program, operation], capture_output=True, text=True, check=True)
        assert said in done.stdout
