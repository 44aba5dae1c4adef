from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fqt_core import code_pages
from fqt_core.code_pages import CodePages

_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_GIVEN = platform.machine() == "x86_64" and _ENABLED.exists() and "[never]" not in _ENABLED.read_text()

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
before, at_first = code_without_file(), losses(CodePages(patience_seconds=3600))
pages = CodePages(most_bytes=int(sys.argv[1]) << 20, patience_seconds=0)
meanwhile, afterwards = losses(pages), losses(pages)
run.set()
thread.join()
assert at_first == meanwhile == afterwards, (at_first, meanwhile, afterwards)
print(pages.moved >> 20, code_without_file() - before >> 20)
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
        env={**os.environ, "OMP_NUM_THREADS": "2", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize("most", [4, 256])
def test_code_is_moved_while_threads_run_it_and_does_what_it_did(most: int) -> None:
    moved, without_file = map(int, _run(_TRAIN, str(most)).split())
    assert moved == without_file
    assert (0 < moved <= most) is _GIVEN
    if most == 256 and _GIVEN:
        assert moved > 4


def test_it_can_be_switched_off() -> None:
    assert _run(_TRAIN, "256", FQT_CODE_PAGES="small").split() == ["0", "0"]


def test_code_that_was_written_to_stays_where_it_is() -> None:
    assert _run(_WRITE).strip() == "False"


def test_nothing_happens_where_the_system_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code_pages, "_PAGEMAP", tmp_path / "pagemap")
    pages = CodePages(patience_seconds=0)
    for _ in range(4):
        pages.step_done()
    assert pages.moved == 0


def test_nothing_happens_where_there_are_no_large_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "enabled").write_text("always madvise [never]\n")
    monkeypatch.setattr(code_pages, "_ENABLED", tmp_path / "enabled")
    pages = CodePages(patience_seconds=0)
    for _ in range(4):
        pages.step_done()
    assert pages.moved == 0


def test_code_stays_where_the_system_does_not_let_it_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    call = code_pages._call

    def refused(libc: object, name: str, *arguments: int) -> int:
        asked.append(name)
        if name == "mprotect":
            raise PermissionError(13, "mprotect: Permission denied")
        return call(libc, name, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(code_pages, "_call", refused)
    monkeypatch.setattr(code_pages, "_possible", lambda: True)
    monkeypatch.setattr(code_pages, "_code", lambda: [])
    monkeypatch.setattr(code_pages, "_most_used", lambda spans: [id(asked) & -code_pages._BLOCK] * 2)
    pages = CodePages(patience_seconds=0, most_bytes=1 << 30)
    monkeypatch.setattr(code_pages.ctypes, "memmove", lambda *arguments: None)
    for _ in range(4):
        pages.step_done()
    assert pages.moved == 0
    assert asked.count("munmap") >= 2  # what was taken for it is given back
    assert "mremap" not in asked
