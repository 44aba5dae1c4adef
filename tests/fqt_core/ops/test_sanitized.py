"""The kernels' own tests once more, with every access and every operation on integers watched."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fqt_core.ops.extension import build, run_tests


def _library(name: str) -> str:
    return subprocess.run(
        ["c++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.elsewhere
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_kernel_leaves_its_buffers_or_what_the_language_defines() -> None:
    """Address and undefined-behaviour sanitizer: a read one byte beyond a buffer would end the process."""
    extension = build("sanitized", FQT_SANITIZE="ON")

    def run(path: str) -> subprocess.CompletedProcess[str]:
        return run_tests(
            extension,
            path,
            LD_PRELOAD=f"{_library('libasan.so')} {_library('libubsan.so')}",
            # The interpreter leaves much to the system when it ends; a size beyond all memory is for torch to refuse.
            ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",
            UBSAN_OPTIONS="print_stacktrace=1",
        )

    # Side by side: nothing else of `make kernels` takes as long as one of them.
    with ThreadPoolExecutor() as pool:
        for done in pool.map(run, ("tests/fqt_core/ops/test_native.py", "tests/fqt_core/ops/test_fuzz.py")):
            assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
            assert " passed" in done.stdout
