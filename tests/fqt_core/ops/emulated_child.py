"""Runs in an emulator (test_emulated_cpu.py): the installed extension on a processor that has less than this one.

Takes a file of cases, prints what it found as JSON. Imports little: everything is slow there.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from typing import Any

import torch

from fqt_core import ops
from fqt_core.errors import ConfigurationError
from fqt_core.ops import native
from fqt_core.verification.comparison import results, same_bits

Cases = list[tuple[str, tuple[Any, ...], list[torch.Tensor]]]


def differing(cases: Cases) -> tuple[Counter[str], list[str]]:
    """Cases of each kernel that can run here, and those kernels that gave something else than the file."""
    ran: Counter[str] = Counter()
    wrong = []
    for operation, arguments, expected in cases:
        for isa in native.INSTRUCTION_SETS:
            if (operation, isa) not in native.KERNELS:
                continue
            found = results(native.kernel(operation, isa), arguments)
            ran[f"{operation}.{isa}"] += 1
            if not all(same_bits(one, other) for one, other in zip(found, expected, strict=True)):
                wrong.append(f"{operation}.{isa}")
    return ran, wrong


def refused(isa: str) -> bool:
    """Whether this instruction set cannot be forced."""
    try:
        native.choose_isa(isa, frozenset(row for _, row in native.KERNELS))
    except ConfigurationError:
        return True
    return False


def signal_of(isa: str) -> int:
    """What ends a process that calls a kernel of this instruction set nevertheless; 0 if nothing does."""
    process = os.fork()
    if process == 0:
        native.kernel("pack_sign", isa)(torch.ones(2, 64))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """The program."""
    ran, wrong = differing(torch.load(sys.argv[1], weights_only=True))
    sets = [isa for isa in ("avx2", "avx512") if native.EXTENSION and ("pack_sign", isa) in native.EXTENSION.KERNELS]
    found = {
        "isa": ops.isa(),
        "torch": torch.backends.cpu.get_cpu_capability(),
        "usable": list(native.EXTENSION.USABLE) if native.EXTENSION else [],
        "serving": sorted({operation.isa for operation in ops.OPERATIONS.values()}),
        "ran": ran,
        "wrong": wrong,
        "refused": [isa for isa in sets if refused(isa)],
        "signals": {isa: signal_of(isa) for isa in sets},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
