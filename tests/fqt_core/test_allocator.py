from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def test_aligned_blocks_of_a_process_of_a_worker_find_their_places_again(tmp_path: Path) -> None:
    """By default glibc 2.36 finds none of them."""
    from worker.process import child_environment

    look = """
import ctypes
from fqt_core.allocator import keep_pages

def aligned():
    block = ctypes.c_void_p()
    assert libc.posix_memalign(ctypes.byref(block), ctypes.c_size_t(64), ctypes.c_size_t(1 << 20)) == 0
    return block

keep_pages()
libc = ctypes.CDLL(None)
before = [aligned() for _ in range(4)]
end = aligned()
for block in before:
    libc.free(block)
print(len({block.value for block in before} | {aligned().value for _ in before}))
"""
    answer = subprocess.run(
        [sys.executable, "-c", look], env=child_environment(tmp_path, 1), capture_output=True, text=True, check=True
    )
    assert 4 <= int(answer.stdout) <= 6


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
