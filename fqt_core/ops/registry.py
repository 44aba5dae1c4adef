"""The table of operations in the ``torch.library`` namespace ``fqt``.

An operation is declared once, by decorating its reference: schema, fake kernel and reference stand together. The
decorator enters it in :data:`OPERATIONS`, registers it with torch, and puts the native kernel of the chosen
instruction set in front of the reference on the CPU where there is one, and the CUDA kernel on a GPU. Tests and
benchmarks loop over the table.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

import torch

from fqt_core.ops import native

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Operation:
    """One row of the table. ``isa`` is what serves CPU tensors: ``reference`` or an instruction set."""

    name: str
    schema: str
    reference: Callable[..., Any]
    fake: Callable[..., Any]
    isa: str


OPERATIONS: dict[str, Operation] = {}

_LIBRARY = torch.library.Library("fqt", "DEF")  # type: ignore[no-untyped-call]


def slowest(names: Iterable[str]) -> str:
    """Of the instruction sets that serve these operations on the CPU, the slowest; ``reference`` is slower than all."""
    order = ("reference", *native.INSTRUCTION_SETS)
    return min((OPERATIONS[name].isa for name in names), key=order.index)


def _kernel_for(name: str) -> str:
    """The best instruction set, not above the chosen one, that has a kernel for this operation."""
    if native.ISA != "reference":
        upto = native.INSTRUCTION_SETS[: native.INSTRUCTION_SETS.index(native.ISA) + 1]
        for isa in reversed(upto):
            if (name, isa) in native.KERNELS:
                return isa
    return "reference"


def operation(schema: str, *, fake: Callable[..., Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare an operation; the decorated function is its reference.

    Args:
        schema: ``name(arguments) -> results`` in the language of ``torch.library``.
        fake: takes the same arguments and returns empty results of the right shape and dtype.

    Returns:
        A decorator. What it returns calls the operation through torch's dispatcher.
    """
    name = schema.partition("(")[0]

    def declare(reference: Callable[P, R]) -> Callable[P, R]:
        isa = _kernel_for(name)
        _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
        _LIBRARY.impl(name, reference, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
        if isa != "reference":
            native.serve(name, isa)
        if name in native.CUDA_KERNELS and native.ISA != "reference":
            _LIBRARY.impl(name, native.kernel(name, "cuda"), "CUDA")  # type: ignore[no-untyped-call]
        torch.library.register_fake(f"fqt::{name}", fake, lib=_LIBRARY)
        OPERATIONS[name] = Operation(name, schema, reference, fake, isa)
        call = getattr(torch.ops.fqt, name).default

        @functools.wraps(reference)
        def dispatch(*args: P.args, **kwargs: P.kwargs) -> R:
            return cast("R", call(*args, **kwargs))

        return dispatch

    return declare
