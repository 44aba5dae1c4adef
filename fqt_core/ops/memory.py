"""Memory for results of operations, which a process that trains keeps for those to come (``csrc/cpu/memory.h``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fqt_core.ops.native import EXTENSION


class KeptMemory(NamedTuple):
    """Bytes of kept blocks: ``lent`` to tensors and kernels, ``most_lent`` of them at once, ``ready`` for others.

    ``ready`` is at most three times ``most_lent``.
    """

    lent: int
    most_lent: int
    ready: int


def keep() -> None:
    """Keep large blocks of the CPU that results and kernels release, from now on; nothing without native kernels."""
    if EXTENSION is not None:
        EXTENSION.keep_memory()


def kept() -> KeptMemory:
    """What is kept; zeros before :func:`keep`."""
    return KeptMemory(0, 0, 0) if EXTENSION is None else KeptMemory(*EXTENSION.kept_memory())


def new_tensor(like: Tensor, size: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised contiguous tensor of this size on ``like``'s device, of its dtype unless one is given."""
    dtype = dtype or like.dtype
    if EXTENSION is None or not like.is_cpu:
        return like.new_empty(size, dtype=dtype)
    result: Tensor = torch.ops.fqt_native.new_tensor(like, size, dtype)
    return result


if EXTENSION is not None:
    torch.library.register_fake("fqt_native::new_tensor", lambda like, size, dtype: like.new_empty(size, dtype=dtype))
