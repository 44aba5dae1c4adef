"""``python -m worker.gpu_child``: print as JSON what :mod:`worker.gpu` wants to know. Imports torch.

A GPU may be used if every kernel that the extension has for it gives the reference's results, bit for bit. How fast it
is then is told as well; ``fqt doctor --gpu`` tells more.
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
from fqt_core.verification.report import MEASURED, name_of, speed_line, verdict_line
from fqt_core.verification.speed import copy_bandwidth, measure


def inspect(device: str, call: Callable[[str], Callable[..., Any]] | None = None) -> dict[str, Any]:
    """What is told: the device's name, or ``None`` and the reason why it may not be used; how many kernels it has; at
    how many GB/s it copies memory, and lines for the speed of each kernel on the first of the measured layers.

    ``call``: see :func:`fqt_core.verification.equality.verify`.
    """
    where = torch.device(device)
    if where.type == "cuda" and (missing := missing_gpu()) is not None:
        return _told(None, missing, 0)
    names = sorted(native.CUDA_KERNELS if where.type == "cuda" else {name for name, _ in native.KERNELS})
    for verdict in verify(where, names, call=call):
        if not verdict.equal:
            return _told(None, f"kernels are wrong: {verdict_line(verdict)}", len(names))
    bandwidth = copy_bandwidth(where)
    lines = [speed_line(speed) for speed in measure(where, names, bandwidth, layers=MEASURED[:1])]
    return _told(name_of(where), "", len(names)) | {"copy_gb_per_s": round(bandwidth, 1), "speeds": lines}


def _told(name: str | None, reason: str, kernels: int) -> dict[str, Any]:
    return {"name": name, "reason": reason, "kernels": kernels, "copy_gb_per_s": None, "speeds": []}


if __name__ == "__main__":
    json.dump(inspect("cuda"), sys.stdout)
