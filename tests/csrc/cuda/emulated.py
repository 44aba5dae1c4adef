"""Builds the emulated CUDA kernels, and lists them."""

from __future__ import annotations

import fcntl
import functools
import re
from collections.abc import Callable
from typing import Any

import torch

from tests.fqt_core.ops.extension import ROOT, build

PATHS = ("bits", "bytes", "words")
"""How products are computed (csrc/cuda/queue.h)."""


def table() -> list[tuple[str, str]]:
    """(operation, path) of each kernel, ``any`` for those that are not products."""
    text = (ROOT / "csrc/cuda/kernels.inc").read_text()
    rows = re.findall(r"^FQT_CUDA(_PRODUCT)?\((\w+),", text, re.MULTILINE)
    return [(operation, path) for product, operation in rows for path in (PATHS if product else ("any",))]


KERNELS = table()


@functools.cache
def load() -> None:
    """Register them as ``fqt_cuda_emulated::<operation>.<path>``; their library is quick to build the second time."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with (folder / "cuda_emulated.lock").open(
        "w"
    ) as lock:  # test files run in processes of their own, at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        library = build("cuda_emulated", "_cuda_emulated", FQT_WERROR="ON")
    torch.ops.load_library(library)


def kernel(operation: str, path: str) -> Callable[..., Any]:
    """One of them."""
    overload: Callable[..., Any] = getattr(getattr(torch.ops.fqt_cuda_emulated, operation), path)
    return overload
