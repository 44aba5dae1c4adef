"""What the CUDA sources ask of the runtime: nothing waits for the GPU, and nothing is allocated beside torch."""

from __future__ import annotations

import re

from tests.fqt_core.ops.extension import ROOT

ALLOWED = {
    "csrc/cuda/current.cu": {"DeviceGetAttribute", "GetErrorString", "MemcpyAsync", "StreamSynchronize"},
    "csrc/cuda/gpu.h": {"GetErrorString", "GetLastError"},
}
"""Files to calls of the runtime: the compute capability, once, and ``fetch``; errors of launches."""


def test_the_runtime_is_asked_for_nothing_that_waits_or_allocates() -> None:
    files = [file for folder in ("csrc/cuda", "csrc/torch") for file in (ROOT / folder).rglob("*") if file.is_file()]
    calls = {str(file.relative_to(ROOT)): set(re.findall(r"\bcuda([A-Z]\w+)\(", file.read_text())) for file in files}
    assert {name: found for name, found in calls.items() if found} == ALLOWED


def test_only_a_selection_whose_size_is_its_result_fetches_a_number() -> None:
    rim = [file.read_text() for file in (ROOT / "csrc/torch").glob("*.h")]
    [line] = [line for text in rim for line in text.splitlines() if ".read()" in line]
    assert "how == Pruning::bernoulli ? found.read()" in line
    assert sum(text.count("cuda::fetch(") for text in rim) == 1
