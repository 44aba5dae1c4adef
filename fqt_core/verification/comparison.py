"""What a kernel gives, and whether it is the same, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def results(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """What a kernel returns, and its arguments as it leaves them, for some change in place."""
    own = [value.clone() if isinstance(value, torch.Tensor) else value for value in arguments]
    returned = kernel(*own)
    got = () if returned is None else (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)
    return [*got, *(value for value in own if isinstance(value, torch.Tensor))]


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether dtype, shape and every bit agree: zeros of different sign do not."""
    integers = {torch.float32: torch.int32, torch.float64: torch.int64}
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and torch.equal(one.view(integers.get(one.dtype, one.dtype)), other.view(integers.get(one.dtype, one.dtype)))
    )
