"""``python -m worker.gpu_child``: print as JSON what :mod:`worker.gpu` wants to know. Imports torch.

A GPU may be used if every kernel that the extension has for it gives the reference's results, bit for bit.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch

from fqt_core.ops import native
from fqt_core.training.device import missing_gpu
from fqt_core.verification.equality import verify
from fqt_core.verification.report import name_of, verdict_line


def inspect(device: str, call: Callable[[str], Callable[..., Any]] | None = None) -> dict[str, Any]:
    """What is told: the device's name, or ``None`` and the reason why it may not be used; how many kernels it has.

    ``call``: see :func:`fqt_core.verification.equality.verify`.
    """
    where = torch.device(device)
    if where.type == "cuda" and (missing := missing_gpu()) is not None:
        return {"name": None, "reason": missing, "kernels": 0}
    names = sorted(native.CUDA_KERNELS if where.type == "cuda" else {name for name, _ in native.KERNELS})
    for verdict in verify(where, names, call=call):
        if not verdict.equal:
            return {"name": None, "reason": f"kernels are wrong: {verdict_line(verdict)}", "kernels": len(names)}
    return {"name": name_of(where), "reason": "", "kernels": len(names)}


if __name__ == "__main__":
    json.dump(inspect("cuda"), sys.stdout)
