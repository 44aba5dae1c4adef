"""What a kernel gives, and whether it is the same, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch


def with_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """An argument with each of its tensors replaced by what the function makes of it: it may be a list of them."""
    if isinstance(value, list):
        return [with_tensors(function, item) for item in value]
    return function(value) if isinstance(value, torch.Tensor) else value


def tensors_in(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    """All tensors among arguments or results, in order, those in lists as well."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)


def results(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> list[torch.Tensor]:
    """What a kernel returns, and its arguments as it leaves them, for some change in place."""
    own = [with_tensors(torch.Tensor.clone, value) for value in arguments]
    return list(tensors_in((kernel(*own), own)))


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether dtype, shape and every bit agree: zeros of different sign do not."""
    integers = {torch.float32: torch.int32, torch.float64: torch.int64}
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and torch.equal(one.view(integers.get(one.dtype, one.dtype)), other.view(integers.get(one.dtype, one.dtype)))
    )
