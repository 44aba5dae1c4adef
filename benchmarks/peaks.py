"""What the processor's units can do at best: the products that a kernel could compute if nothing else took time.

``peaks.cpp`` runs the kernels' innermost instructions on registers alone. It is compiled with the machine's compiler
when a benchmark wants it, into a temporary folder, and is no part of the package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.errors import BenchmarkError

SOURCE = Path(__file__).with_name("peaks.cpp")

_NIBBLE = 4

_SIGNS = {
    "portable": ("portable_count",),
    "neon": ("neon_count",),
    "avx2": ("avx2_lookup",),
    "avx512": ("avx512_count", "avx512_count_pairs"),
    "amx": ("amx_tiles",),
}
"""Units that compute signs times signs on each instruction set; of several, the fastest is the peak."""

_CODES = {
    "portable": ("portable_select",),
    "neon": ("neon_lookup",),
    "avx2": ("avx2_lookup",),
    "avx512": ("avx512_lookup",),
    "amx": ("amx_tiles",),
}
"""Units that compute codes times signs."""

_WHOLE = frozenset({"amx"})
"""Instruction sets that take a code as it is; all others take it four bits at a time."""

OTHERS = {"avx512": ("avx512_vnni",)}
"""Units that no kernel uses, measured to know what they would reach."""


def units_of(isas: Iterable[str]) -> list[str]:
    """All units of some instruction sets, each once."""
    tables = (_SIGNS, _CODES, OTHERS)
    return list(dict.fromkeys(unit for isa in isas for table in tables for unit in table.get(isa, ())))


def measure(isas: Iterable[str]) -> dict[str, float]:
    """GMAC/s of one thread for each unit of some instruction sets, which must be usable here.

    Units that take codes four bits at a time are given for codes of up to four bits.

    Raises:
        BenchmarkError: there is no compiler, or it cannot compile the program.
    """
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        raise BenchmarkError("the units' peaks need a C++ compiler: install one, or name it in CXX")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "peaks"
        _run(compiler, "-std=c++17", "-O2", SOURCE, "-o", program)
        lines = _run(program, *units_of(isas)).splitlines()
    return {name: float(figure) for name, figure in (line.split() for line in lines)}


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def peak_of(isa: str, bits: int, found: dict[str, float]) -> float:
    """GMAC/s that a product's kernel cannot exceed on one thread.

    Args:
        isa: what the kernel is written for.
        bits: of what it multiplies signs with: 1 for signs.
        found: what :func:`measure` gave.
    """
    units = (_SIGNS if bits == 1 else _CODES)[isa]
    passes = 1 if isa in _WHOLE else -(-bits // _NIBBLE)
    return max(found[unit] for unit in units) / passes
