"""When values may be looked at. To look at one on a GPU is to wait for all that the GPU was given to do before."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def at_once(tensor: Tensor) -> bool:
    """Whether a tensor's values can be looked at without waiting for a device."""
    return tensor.is_cpu


def fetch(values: Sequence[Tensor]) -> list[float]:
    """Numbers of one device, () each, as float64: the one way in which a training step waits, once for all of them."""
    if all(at_once(value) for value in values):
        return [float(value) for value in values]
    found: list[float] = torch.stack([value.double() for value in values]).tolist()
    return found
