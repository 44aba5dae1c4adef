"""Moves the code that a training step runs, and the objects that it comes by, to pages of 2 MiB.

Between its kernels a step runs code of PyTorch and Python, a few instructions in each of many places of hundreds of
MiB. Kernels go through more memory than caches hold, so that the processor then has neither this code at hand nor the
tables of its 4 KiB pages; in a virtual machine, where each look-up goes through two such tables, to find a page takes
longer than to run what is on it. On VGG-16 (batches of 128, AMX) that is a tenth of the whole step where others use
the caches too, and next to nothing on a machine that is quiet.

Linux gives large pages to memory, but seldom to a file's. So the blocks of 2 MiB that a step comes by are copied to
memory that has them, which then takes the place of the file's at the same addresses. It holds the same bytes, so that
other threads may run them all the while. Libraries have to stay where they are meanwhile, as Python's and PyTorch's do.

Python keeps its objects in memory of its own, of small pages, too: Linux puts them on large ones where they are.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

MOST_BYTES = 64 << 20
"""What a process moves at most, unless it says otherwise."""

_BLOCK = 2 << 20
_PAGE = mmap.PAGESIZE
_NEARLY_FULL = _BLOCK // _PAGE * 7 // 8
"""So many small pages of a block are there already: a large one takes little more memory than they do."""

_PATIENCE_SECONDS = 5.0
_TIMES_AS_LONG = 12
"""Training goes on so much longer before objects are moved, which takes half a second and gains a sixtieth."""

_MOST_GATHERED = 128 << 20
_VARIABLE, _OFF = "FQT_CODE_PAGES", "small"

_SMAPS = Path("/proc/self/smaps")
_PAGEMAP = Path("/proc/self/pagemap")
_MEMORY = Path("/proc/self/mem")
_ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) [0-9a-f]+ \S+ (\d+)", re.MULTILINE)
_PRESENT = 63  # the bit of a page's entry that says so
_MADV_COLLAPSE = 25
_MREMAP_MAYMOVE, _MREMAP_FIXED = 1, 2


class CodePages:
    """What moves the code of this process's steps, once, some seconds after training began.

    It is for programs that train, and no library code does it by itself. It needs Linux on x86-64 with transparent huge
    pages on request, and does nothing elsewhere, or with ``FQT_CODE_PAGES=small`` in the environment, for profilers
    that have to know which file an instruction is from.

    Attributes:
        moved: bytes that were moved, for which the process has memory of its own now. 0 before, and where the system
            does not let code be moved (SELinux without ``execmem``, say).
        gathered: bytes of the blocks of other memory that were put on large pages.
    """

    def __init__(self, *, most_bytes: int = MOST_BYTES, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        """Prepare.

        Args:
            most_bytes: what is moved at most: the blocks that a step comes by most.
            patience_seconds: how long training goes on before; what is over sooner is not worth it.
        """
        self.moved = self.gathered = 0
        self._most_blocks = most_bytes // _BLOCK
        now = time.monotonic()
        self._begin, self._pays = now + patience_seconds, now + _TIMES_AS_LONG * patience_seconds
        self._stages = self._run()

    def step_done(self) -> None:
        """To be called after each step. All but three of the calls return at once."""
        next(self._stages, None)

    def _run(self) -> Iterator[None]:
        if not _possible():
            return
        libc = ctypes.CDLL(None, use_errno=True)
        while time.monotonic() < self._begin:
            yield
        with suppress(OSError, LookupError, ValueError):  # also of what a sandbox shows in place of Linux's files
            spans = _code()
            for begin, end in spans:
                _call(libc, "madvise", begin, end - begin, mmap.MADV_DONTNEED)
            yield  # the next step has the pages that it comes by mapped again
            blocks = _most_used(sorted(set(spans) & set(_code())))[: self._most_blocks]
            for size in _moved(libc, blocks):
                self.moved += size
        while time.monotonic() < self._pays:
            yield
        with suppress(OSError, LookupError, ValueError):
            for size in islice(_gathered(libc, _small()), _MOST_GATHERED // _BLOCK):
                self.gathered += size


def _possible() -> bool:
    linux = platform.system() == "Linux" and platform.machine() == "x86_64" and os.environ.get(_VARIABLE) != _OFF
    try:
        return linux and _PAGEMAP.exists() and "[never]" not in _ENABLED.read_text()
    except OSError:
        return False


def _code() -> list[tuple[int, int]]:
    """Begin and end of code that is a file's as it stands there, in whole blocks.

    Where a page was written to, by a debugger say, the file does not have it.
    """
    return _whole_blocks(
        (begin, end)
        for begin, end, access, inode, figures in _mappings()
        if access == "r-xp" and inode and figures["Anonymous"] == figures["Swap"] == 0
    )


def _small() -> list[tuple[int, int]]:
    """Begin and end of memory of this process's own, in whole blocks, which has small pages for the most part."""
    return _whole_blocks(
        (begin, end)
        for begin, end, access, inode, figures in _mappings()
        if access == "rw-p" and not inode and 2 * figures["AnonHugePages"] < figures["Rss"]
    )


def _whole_blocks(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Of each span the part that is whole blocks, if it has one."""
    parts = ((-(-begin // _BLOCK) * _BLOCK, end // _BLOCK * _BLOCK) for begin, end in spans)
    return [(begin, end) for begin, end in parts if begin < end]


def _mappings() -> Iterator[tuple[int, int, str, int, dict[str, int]]]:
    """Begin, end, access, inode (0: no file) and figures, KiB by name, of each mapping of this process."""
    text = _SMAPS.read_text(encoding="latin-1")  # names of files are whatever they are
    found = list(_MAPPING.finditer(text))
    ends = [following.start() for following in found[1:]] + [len(text)]
    for mapping, after in zip(found, ends, strict=True):
        begin, end, access, inode = mapping.groups()
        rows = re.findall(r"^(\w+):\s+(\d+) kB$", text[mapping.end() : after], re.MULTILINE)
        yield int(begin, 16), int(end, 16), access, int(inode), {name: int(size) for name, size in rows}


def _gathered(libc: ctypes.CDLL, spans: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Put the blocks that are nearly full on large pages; the bytes of each where that was done."""
    for block, count in _pages_of_blocks(spans).items():
        if count >= _NEARLY_FULL:
            with suppress(OSError):  # of one block; Linux before 6.1 refuses all
                _call(libc, "madvise", block, _BLOCK, _MADV_COLLAPSE)
                yield _BLOCK


def _most_used(spans: Sequence[tuple[int, int]]) -> list[int]:
    """Addresses of the blocks that have pages mapped, those with most of them first."""
    counts = _pages_of_blocks(spans)
    return sorted((block for block, count in counts.items() if count), key=lambda block: -counts[block])


def _pages_of_blocks(spans: Sequence[tuple[int, int]]) -> dict[int, int]:
    """How many pages each block has mapped, by address."""
    counts: dict[int, int] = {}
    with _PAGEMAP.open("rb") as pagemap:
        for begin, end in spans:
            pagemap.seek(begin // _PAGE * 8)
            entries = array("Q", pagemap.read((end - begin) // _PAGE * 8))
            for first in range(0, len(entries), _BLOCK // _PAGE):
                pages = entries[first : first + _BLOCK // _PAGE]
                counts[begin + first * _PAGE] = sum(entry >> _PRESENT for entry in pages)
    return counts


def _moved(libc: ctypes.CDLL, blocks: Sequence[int]) -> Iterator[int]:
    """Move blocks; the bytes of each that was moved. None are where there are no large pages for them all.

    Raises:
        OSError: the system does not let code be moved, or has no memory.
    """
    if not blocks:
        return
    rooms = _rooms(libc, len(blocks))
    begin, size = rooms[0], len(rooms) * _BLOCK
    try:
        _call(libc, "madvise", begin, size, mmap.MADV_HUGEPAGE)
        with _MEMORY.open("rb", buffering=0) as memory:  # a file that cannot be read is an error there, and no signal
            for room, block in zip(rooms, blocks, strict=True):
                memory.seek(block)
                if memory.readinto((ctypes.c_char * _BLOCK).from_address(room)) != _BLOCK:
                    raise OSError(f"{_MEMORY} ends within code")
        with suppress(OSError):  # Linux before 6.1 has no such thing
            _call(libc, "madvise", begin, size, _MADV_COLLAPSE)
        _call(libc, "mprotect", begin, size, mmap.PROT_READ | mmap.PROT_EXEC)
        large = sum(figures["AnonHugePages"] << 10 for at, *_, figures in _mappings() if at == begin)
        if large < size:
            return
        for block in blocks:
            # Taken out first: once it is vacated, any thread may be given its address.
            room = rooms.pop(0)
            _call(libc, "mremap", room, _BLOCK, _BLOCK, _MREMAP_MAYMOVE | _MREMAP_FIXED, block)
            yield _BLOCK
    finally:
        for room in rooms:
            _call(libc, "munmap", room, _BLOCK)


def _rooms(libc: ctypes.CDLL, count: int) -> list[int]:
    """New memory for blocks, one behind the other."""
    access, kind = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    begin = _call(libc, "mmap", 0, (count + 1) * _BLOCK, access, kind, -1, 0)
    first, end = -(-begin // _BLOCK) * _BLOCK, begin + (count + 1) * _BLOCK
    last = first + count * _BLOCK
    for left, right in ((begin, first), (last, end)):
        if left < right:
            _call(libc, "munmap", left, right - left)
    return list(range(first, last, _BLOCK))


def _call(libc: ctypes.CDLL, name: str, *arguments: int) -> int:
    function = getattr(libc, name)
    function.restype = ctypes.c_ssize_t
    result: int = function(*map(ctypes.c_ssize_t, arguments))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
