from __future__ import annotations

import ctypes
import mmap
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fqt_core import code_pages
from fqt_core.code_pages import CodePages

_PROBE = """
import ctypes, mmap
from fqt_core.code_pages import _BLOCK, _MADV_COLLAPSE, _call, _mappings, _rooms
libc = ctypes.CDLL(None, use_errno=True)
first, *_ = rooms = _rooms(libc, 128)
_call(libc, "madvise", first, len(rooms) * _BLOCK, mmap.MADV_HUGEPAGE)
ctypes.memset(first, 1, len(rooms) * _BLOCK)
_call(libc, "madvise", first, _BLOCK, _MADV_COLLAPSE)
_call(libc, "mprotect", first, len(rooms) * _BLOCK, mmap.PROT_READ | mmap.PROT_EXEC)
print(sum(figures["AnonHugePages"] << 10 for at, *_, figures in _mappings() if at == first) == len(rooms) * _BLOCK)
"""

_TRAIN = """
import sys, threading
import torch
from torch import nn
from fqt_core.code_pages import CodePages, _mappings

def losses(pages):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    optimizer = torch.optim.Adam(model.parameters())
    found = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(torch.randn(16, 3, 8, 8)), torch.arange(16) % 4)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        pages.step_done()
    return found

def code_without_file():
    return sum(end - begin for begin, end, access, inode, _ in _mappings() if access == "r-xp" and not inode)

run = threading.Event()
def others():
    generator = torch.Generator()
    while not run.is_set():
        torch.linalg.svd(torch.rand(20, 20, generator=generator)).S.sum().item()
thread = threading.Thread(target=others)
thread.start()
at_first = losses(CodePages(patience_seconds=3600))
before = code_without_file()  # that of oneDNN, made at first
pages = CodePages(most_bytes=int(sys.argv[1]) << 20, patience_seconds=0)
meanwhile, afterwards = losses(pages), losses(pages)
run.set()
thread.join()
assert at_first == meanwhile == afterwards, (at_first, meanwhile, afterwards)
print(pages.moved >> 20, code_without_file() - before >> 20, pages.gathered >> 20)
"""

_WRITE = """
import ctypes, mmap, sys
import torch
from fqt_core.code_pages import _BLOCK, _code, _call
libc = ctypes.CDLL(None, use_errno=True)
begin, end = max(_code(), key=lambda span: span[1] - span[0])
_call(libc, "mprotect", begin, _BLOCK, mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
byte = ctypes.c_char.from_address(begin)
byte.value = byte.value
_call(libc, "mprotect", begin, _BLOCK, mmap.PROT_READ | mmap.PROT_EXEC)
print(any(first <= begin < last for first, last in _code()))
"""


def _run(program: str, *arguments: str, **environment: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "2", "FQT_CODE_PAGES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def given() -> bool:
    """Whether the system has large pages, also for memory that is in use, and lets code be there."""
    process = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=False)
    return platform.machine() == "x86_64" and process.stdout.strip() == "True"


def moved_after_steps() -> int:
    pages = CodePages(patience_seconds=0)
    for _ in range(4):
        pages.step_done()
    return pages.moved


@pytest.mark.parametrize("most", [4, 256])
def test_code_is_moved_while_threads_run_it_and_does_what_it_did(most: int, given: bool) -> None:
    moved, without_file, gathered = map(int, _run(_TRAIN, str(most)).split())
    assert moved == without_file
    assert moved <= most
    assert gathered <= code_pages._MOST_GATHERED >> 20
    if given:
        assert moved > (4 if most == 256 else 0)
        assert gathered > 0


def test_only_blocks_that_are_nearly_full_are_put_on_large_pages(given: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    block, page = code_pages._BLOCK, mmap.PAGESIZE
    full, half, empty = rooms = code_pages._rooms(libc, 3)
    try:
        code_pages._call(libc, "madvise", full, 3 * block, mmap.MADV_NOHUGEPAGE)
        for number in range(block // page):
            ctypes.memset(full + number * page, number % 251 + 1, page)
            if number % 2:
                ctypes.memset(half + number * page, 7, page)
        for room in rooms:
            code_pages._call(libc, "madvise", room, block, mmap.MADV_HUGEPAGE)
        before = ctypes.string_at(full, block)  # to read of the others would give them pages
        assert list(code_pages._gathered(libc, [(full, empty + block)])) == ([block] if given else [])
        large = sum(row[4]["AnonHugePages"] << 10 for row in code_pages._mappings() if row[0] <= full < row[1])
        assert large == (block if given else 0)
        assert ctypes.string_at(full, block) == before
    finally:
        for room in rooms:
            code_pages._call(libc, "munmap", room, block)


def test_it_can_be_switched_off() -> None:
    assert _run(_TRAIN, "256", FQT_CODE_PAGES="small").split() == ["0", "0", "0"]


def test_code_that_was_written_to_stays_where_it_is() -> None:
    assert _run(_WRITE).strip() == "False"


def test_nothing_happens_where_the_system_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code_pages, "_PAGEMAP", tmp_path / "pagemap")
    assert moved_after_steps() == 0


def test_nothing_happens_where_there_are_no_large_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(code_pages, "_ENABLED", tmp_path / "enabled")
    assert moved_after_steps() == 0


class System:
    """Stands for libc: memory of its own, code that is somewhere, and what is refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: str = "", from_call: int = 1) -> None:
        self.taken = self.given_back = self.moved = 0
        self._refused, self._left, self._call = refused, from_call, code_pages._call
        self._code = bytearray(4 * code_pages._BLOCK)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        block = -(-begin // code_pages._BLOCK) * code_pages._BLOCK
        self.large: list[tuple[int, int, str, int, dict[str, int]]] = []
        monkeypatch.setattr(code_pages, "_mappings", lambda: iter(self.large))
        monkeypatch.setattr(code_pages, "_call", self)
        monkeypatch.setattr(code_pages, "_possible", lambda: True)
        monkeypatch.setattr(code_pages, "_code", lambda: [(block, block + 2 * code_pages._BLOCK)])
        monkeypatch.setattr(code_pages, "_most_used", lambda spans: [block, block + code_pages._BLOCK])

    def __call__(self, libc: ctypes.CDLL, name: str, *arguments: int) -> int:
        if name == self._refused:
            self._left -= 1
            if self._left <= 0:
                raise PermissionError(13, f"{name}: Permission denied")
        if name == "mremap":  # leaves the code where it is: as if it were vacated
            self.moved += arguments[1]
            return self._call(libc, "munmap", *arguments[:2])
        if name == "madvise" and arguments[2] == mmap.MADV_DONTNEED:
            return 0
        if name == "mprotect":
            self.large = [(arguments[0], 0, "r-xp", 0, {"AnonHugePages": arguments[1] >> 10})]
            return 0
        result = self._call(libc, name, *arguments)
        self.taken += arguments[1] if name == "mmap" else 0
        self.given_back += arguments[1] if name == "munmap" else 0
        return result


@pytest.mark.parametrize(
    ("refused", "from_call", "moved"),
    [("mmap", 1, 0), ("mprotect", 1, 0), ("mremap", 1, 0), ("mremap", 2, 1)],
)
def test_what_the_system_refuses_leaves_nothing_behind(
    refused: str, from_call: int, moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(monkeypatch, refused, from_call)
    assert moved_after_steps() == system.moved == moved * code_pages._BLOCK
    # A block whose move was refused may be anybody's by then: it stays.
    unknown = code_pages._BLOCK if refused == "mremap" else 0
    assert system.taken == system.given_back + system.moved + unknown


def test_code_stays_where_there_are_no_large_pages_left(monkeypatch: pytest.MonkeyPatch) -> None:
    system = System(monkeypatch)
    monkeypatch.setattr(code_pages, "_mappings", lambda: iter([(*system.large[0][:4], {"AnonHugePages": 2048})]))
    assert moved_after_steps() == system.moved == 0
    assert system.taken == system.given_back > 0


@pytest.mark.parametrize("error", [KeyError("Anonymous"), ValueError("cannot reshape"), OSError("no such file")])
def test_training_goes_on_where_files_of_the_system_are_not_as_linux_has_them(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[tuple[int, int]]:
        raise error

    monkeypatch.setattr(code_pages, "_possible", lambda: True)
    monkeypatch.setattr(code_pages, "_code", fail)
    assert moved_after_steps() == 0
