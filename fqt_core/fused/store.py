"""Room for gradients that outlive the backward pass that makes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

import torch
from torch import Tensor

from fqt_core.layers import BinaryLayer

_ALIGNMENT = 16


class GradientStore:
    """The compact weight gradients of some layers of a chain, in one allocation.

    All else that a backward pass allocates goes before it ends. Strewn among that, these gradients would keep malloc
    from joining what was freed, and the gaps between them would count as memory in use. Where fewer channels are kept
    than there is room for, the system has no pages behind the rest.
    """

    def __init__(self, layers: Iterable[BinaryLayer], device: torch.device) -> None:
        values = [layer.weight.numel() + _ALIGNMENT for layer in layers if layer.wants_compact_gradient]
        self._room = torch.empty(sum(values), device=device)
        self._used = 0

    def take(self, shape: Sequence[int]) -> Tensor:
        """float32 of this shape, uninitialised."""
        size = prod(shape)
        result = self._room[self._used : self._used + size].view(shape)
        self._used += -(-size // _ALIGNMENT) * _ALIGNMENT
        return result
