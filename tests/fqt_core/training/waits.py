"""A device without values in place of a GPU, where to look at one is an error; and all that a step can be asked."""

from __future__ import annotations

import functools
import itertools
import math
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self, Union, get_args, get_origin
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fqt_core.config import METHODS

DEVICE = "meta"


class WaitedError(AssertionError):
    """A GPU would have been waited for."""


def _making(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes tensors, refusing those on the device: numbers of the processor's would go there."""

    @functools.wraps(make)
    def made(*args: Any, **options: Any) -> Tensor:
        result = make(*args, **options)
        if result.device.type == DEVICE and result is not args[0]:
            raise WaitedError(f"{make.__name__}: a tensor made of numbers of the processor's")
        return result

    return made


class Watch(TorchDispatchMode):
    """Refuses what makes a GPU wait and is no error on the meta device: copies from another device, and from pages.

    Attributes:
        seen: our operations, with the devices of their tensors.
        calls: all calls.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: set[tuple[str, str]] = set()
        self.calls: list[str] = []
        self._moving = False
        self._making = [
            mock.patch.object(owner, name, _making(getattr(owner, name)))
            for owner, name in ((torch, "tensor"), (torch, "as_tensor"), (torch, "asarray"), (Tensor, "new_tensor"))
        ]

    def __enter__(self) -> Self:
        for patch in self._making:
            patch.start()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for patch in self._making:
            patch.stop()

    @contextmanager
    def moving(self) -> Iterator[None]:
        """While this lasts, tensors may come to the device."""
        self._moving = True
        try:
            yield
        finally:
            self._moving = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        name = str(func)
        self.calls.append(name)
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if found := re.match(r"fqt\.(\w+)\.", name):
            self.seen |= {(found[1], value.device.type) for value in given}
        _check_division(name, args)
        result = func(*args, **(kwargs or {}))
        self._check(name, given, [value for value in tree_leaves(result) if isinstance(value, Tensor)])
        return result

    def _check(self, name: str, given: list[Tensor], results: list[Tensor]) -> None:
        there = {value.device.type == DEVICE for value in (*given, *results)}
        copies = name.startswith(("aten._to_copy.", "aten.copy_.", "aten._copy_from", "aten._foreach_copy_"))
        if copies and len(there) > 1 and not self._moving:
            raise WaitedError(f"{name}: a copy from one device to another")


def _check_division(name: str, args: Any) -> None:
    """Our layers divide floats of the device by no number of the processor's; by a power of two it is exact."""
    if not name.startswith("aten.div") or not args[0].is_floating_point() or args[0].device.type != DEVICE:
        return
    number = args[1].item() if isinstance(args[1], Tensor) and args[1].is_cpu else args[1]
    if not isinstance(number, int | float) or math.frexp(number)[0] == 0.5:
        return
    callers = (frame for frame, _ in traceback.walk_stack(sys._getframe(2)))
    ours = next(frame for frame in callers if "/fqt_core/" in frame.f_code.co_filename)
    if re.search("/fqt_core/(quantizers|layers|ops|fused)/", ours.f_code.co_filename):
        raise AssertionError(f"{name} by {number} in {ours.f_code.co_name}: a GPU would multiply with its reciprocal")


NOT_OF_A_STEP = {"name", "preset", "budget", "overrides"}
"""Options of methods that stand for others, or for the same in some layers."""

VALUES: dict[str, list[Any]] = {
    "bits": [1, 2, 8],
    "keep": [0.3, 1.0],
    "clip": [2.0],
    "search_every": [1],
    "rate_decay": [0.0],
    "least_rate": [0.5],
    "gaussian_share": [0.5],
    "clip_update": [1.0],
    "weight_bits": [2, 8],
    "activation_bits": [2, 8],
    "sharpness": [5.0],
}
"""Of options that are not one of a few."""


def _choices(annotation: Any) -> list[Any]:
    """The values of literals, in unions too."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in {Union, types.UnionType}:
        return [value for each in get_args(annotation) for value in _choices(each)]
    return []


def values_of(name: str) -> dict[str, list[Any]]:
    """Each option of a method, and values to try; a KeyError tells which option has none yet."""
    fields = METHODS[name].model_fields
    return {
        field: VALUES[field] if field in VALUES else _choices(info.annotation) or VALUES[field]
        for field, info in fields.items()
        if field not in NOT_OF_A_STEP
    }


def every_method() -> list[tuple[str, dict[str, Any]]]:
    """All methods of networks, with each option by itself, and what prunes and rounds in all ways together."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name, row in METHODS.items():
        if row.task != "images":
            continue
        options = values_of(name)
        found += [(name, {})]
        found += [(name, {field: value}) for field, values in options.items() for value in values]
    # How a GPU computes depends on these together.
    chosen = ("groups", "pruning", "rounding", "clip")
    options = values_of("fqt")
    for values in itertools.product(*([None, *options[field]] for field in chosen)):
        found.append(("fqt", {field: value for field, value in zip(chosen, values, strict=True) if value is not None}))
    found.append(("statquant", {"forward": 1, "quantizer": "bhq"}))
    valid = []
    for name, given in found:
        try:
            METHODS[name](**given)
        except ValueError:  # options that exclude each other
            continue
        if (name, given) not in valid:
            valid.append((name, given))
    return valid
