from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fqt_core.allocator import with_huge_pages

_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),
    ],
)
def test_what_the_environment_says_already_stays(before: dict[str, str], after: str) -> None:
    assert with_huge_pages({"PATH": "x", **before}) == {"PATH": "x", "GLIBC_TUNABLES": after}


def test_a_process_of_a_worker_gets_huge_pages_where_there_are_some(tmp_path: Path) -> None:
    from worker.process import child_environment

    look = (
        "import ctypes; from fqt_core.allocator import keep_pages; keep_pages(); "
        "block = ctypes.create_string_buffer(64 << 20); ctypes.memset(block, 1, 64 << 20); "
        "print(next(line for line in open('/proc/self/smaps_rollup') if line.startswith('AnonHugePages')).split()[1])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", look], env=child_environment(tmp_path, 1), capture_output=True, text=True, check=True
    )
    given = _ENABLED.exists() and "[never]" not in _ENABLED.read_text()
    name, version = platform.libc_ver()
    asks = name == "glibc" and tuple(map(int, version.split("."))) >= (2, 35)
    assert (int(answer.stdout) >= 32 << 10) is (given and asks)
