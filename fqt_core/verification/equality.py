"""Bit-equality: each operation, as a device runs it, against its reference on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.ops import native
from fqt_core.verification.cases import CASES, GROUPED, SHAPES, Case, Layer
from fqt_core.verification.comparison import results, same_bits, with_tensors

KNOW_GROUPS = frozenset(
    {
        "binary_conv2d",
        "conv2d_input_gradient",
        "conv2d_weight_gradient",
        "pixel_input_gradient",
        "pixel_weight_gradient",
    }
)
"""Operations that take groups of channels."""

_SEED = 0
_OPCHECKS = ("test_schema", "test_faketensor")


@dataclass(frozen=True)
class Verdict:
    """What was found about one operation.

    ``kernel``: what ran: ``reference``, ``cuda``, or an instruction set. ``differing``: the cases, in words, whose
    results were not those of the reference. ``error``: what ended the operation before all cases had run, if anything.
    """

    operation: str
    kernel: str
    cases: int
    differing: tuple[str, ...] = ()
    error: str | None = None

    @property
    def equal(self) -> bool:
        """Whether all cases ran and every bit was right."""
        return not self.differing and self.error is None


def kernel_on(operation: str, device: torch.device) -> str:
    """What runs an operation on a device: ``reference``, ``cuda``, or an instruction set."""
    if device.type == "cpu":
        return ops.OPERATIONS[operation].isa
    return "cuda" if operation in native.CUDA_KERNELS and native.ISA != "reference" else "reference"


def verify(
    device: torch.device,
    operations: Iterable[str] = CASES,
    *,
    call: Callable[[str], Callable[..., Any]] | None = None,
    shapes: Sequence[Layer] = (*SHAPES, *GROUPED),
) -> Iterator[Verdict]:
    """Compare operations on a device with their references, and their schemas and fake kernels with what they do.

    Args:
        device: where they run.
        operations: names of :data:`fqt_core.ops.OPERATIONS`.
        call: gives the kernel of an operation; ``None``: what torch dispatches to, which is looked at by
            :func:`torch.library.opcheck` as well.
        shapes: the layers whose cases are tried.

    Yields:
        One verdict for each operation.
    """
    for operation in operations:
        kernel = kernel_on(operation, device) if call is None else "given"
        registered = getattr(torch.ops.fqt, operation).default
        run = registered if call is None else call(operation)
        count, differing = 0, []
        try:
            for layer, case in _cases(operation, shapes):
                count += 1
                arguments = tuple(moved(value, device) for value in case.arguments)
                if count == 1 and call is None:
                    torch.library.opcheck(registered, arguments, test_utils=_OPCHECKS)
                if not _equal(results(run, arguments), results(ops.OPERATIONS[operation].reference, case.arguments)):
                    differing.append(f"{layer.name}{case.variant and f' ({case.variant})'}")
        except Exception as error:  # noqa: BLE001 - whatever ends a kernel is what was to be found out
            yield Verdict(operation, kernel, count, tuple(differing), f"{type(error).__name__}: {error}")
        else:
            yield Verdict(operation, kernel, count, tuple(differing))


def _cases(operation: str, shapes: Sequence[Layer]) -> Iterator[tuple[Layer, Case]]:
    for layer in shapes:
        if layer.groups > 1 and operation not in KNOW_GROUPS:
            continue
        if (
            operation.startswith(("hwnc_", "adam_binary_all_")) and min(layer.output) < 2
        ):  # chains pool, and normalise over several pixels
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            cases = list(CASES[operation](layer))
        yield from ((layer, case) for case in cases)


def moved(value: Any, device: torch.device) -> Any:
    """A tensor, or a list of them, on the device; what is none, as it is."""
    return with_tensors(lambda tensor: tensor.to(device), value)


def _equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    return len(found) == len(expected) and all(
        same_bits(one.cpu(), other) for one, other in zip(found, expected, strict=True)
    )
