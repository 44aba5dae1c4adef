"""When values may be looked at. To look at one on a GPU is to wait for all that the GPU was given to do before."""

from __future__ import annotations

from torch import Tensor


def at_once(tensor: Tensor) -> bool:
    """Whether a tensor's values can be looked at without waiting for a device."""
    return tensor.is_cpu
