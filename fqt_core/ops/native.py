"""The native kernels: finding the extension, and choosing the instruction set once, visibly."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch

from fqt_core.errors import ConfigurationError

ENVIRONMENT_VARIABLE = "FQT_ISA"
INSTRUCTION_SETS = ("portable", "neon", "avx2", "avx512", "amx")
"""Instruction sets that kernels may be written for, slowest first."""


CPU_ONLY = frozenset(
    {
        "hwnc_block_forward",
        "hwnc_chain_forward",
        "hwnc_chain_gradient",
        "hwnc_gradient_codes",
        "adam_binary_all_",
        "stem_moments",
        "stem_products",
        "stem_enter",
        "stem_normalization",
        "stem_gradient",
    }
)
"""Operations for processors alone.

Some are put together from others, which a GPU, that Python calls ahead, runs one by one; there, to look at a value on
the way would be to wait. In place of the others a GPU runs PyTorch's own convolution and products, which are fast
there, in an order that nobody fixes.
"""


class NativeKernelWarning(UserWarning):
    """The native kernels are not available, so the slower reference kernels are used."""


def load_extension() -> tuple[ModuleType | None, str]:
    """Import ``fqt_core._native``, which registers its kernels with torch.

    Returns:
        The module, or ``None`` if it cannot be imported; and the reason why not.
    """
    try:
        return importlib.import_module("fqt_core._native"), ""
    except ImportError as error:
        return None, str(error)


def kernel_table(extension: ModuleType | None) -> frozenset[tuple[str, str]]:
    """All (operation, instruction set) pairs that the extension was built with and this machine can run."""
    if extension is None:
        return frozenset()
    return frozenset(row for row in extension.KERNELS if row[1] in extension.USABLE)


def choose_isa(requested: str, available: frozenset[str], reason: str = "") -> str:
    """Turn the value of ``FQT_ISA`` into the instruction set to use.

    Args:
        requested: ``auto`` (the fastest that is available), ``reference``, or the name of an instruction set.
        available: instruction sets that the extension has kernels for.
        reason: why there is no extension, if there is none.

    Raises:
        ConfigurationError: the value is unknown, or that instruction set is not available.
    """
    allowed = ("auto", "reference", *INSTRUCTION_SETS)
    if requested not in allowed:
        raise ConfigurationError(f"{ENVIRONMENT_VARIABLE}={requested!r} is unknown; use one of {', '.join(allowed)}")
    if requested == "reference":
        return requested
    if requested == "auto":
        usable = [name for name in INSTRUCTION_SETS if name in available]
        if usable:
            return usable[-1]
        warnings.warn(
            f"the native kernels cannot be used ({reason or 'none fits this machine'}), "
            "so the slower reference kernels serve; install the package where a C++ compiler is found to build them",
            NativeKernelWarning,
            stacklevel=2,
        )
        return "reference"
    if requested not in available:
        raise ConfigurationError(
            f"{ENVIRONMENT_VARIABLE}={requested!r} is not available here; available: "
            f"{', '.join(('reference', *sorted(available)))}"
        )
    return requested


def kernel(operation: str, isa: str) -> Callable[..., Any]:
    """The native kernel of one operation for one instruction set; call it only for a row of :func:`kernel_table`."""
    packet = getattr(torch.ops.fqt_native, operation)
    overload: Callable[..., Any] = getattr(packet, isa)
    return overload


def serve(operation: str, isa: str) -> None:
    """Make a row of :func:`kernel_table` what torch calls for ``fqt::operation`` on the CPU, without Python between."""
    assert EXTENSION is not None
    EXTENSION.serve(operation, isa)


EXTENSION, _reason = load_extension()
KERNELS = kernel_table(EXTENSION)
CUDA_KERNELS: frozenset[str] = frozenset(getattr(EXTENSION, "CUDA_KERNELS", ()))
"""Operations with CUDA kernels, if the extension was built with them. On a GPU the others run the reference."""
LEAST_GROUP_CHANNELS: int = getattr(EXTENSION, "LEAST_GROUP_CHANNELS", 0)
"""Products in groups of fewer input or output channels run on portable kernels, whatever the instruction set."""
MOST_FORWARD_TERMS: int = getattr(EXTENSION, "MOST_FORWARD_TERMS", 0)
"""So do forward products whose sums have more terms."""
ISA = choose_isa(os.environ.get(ENVIRONMENT_VARIABLE, "auto"), frozenset(isa for _, isa in KERNELS), _reason)


def without_cuda_kernels(operations: Iterable[str]) -> list[str]:
    """Those operations that run their reference on a GPU."""
    known = CUDA_KERNELS if ISA != "reference" else frozenset[str]()
    return [operation for operation in operations if operation not in known]
