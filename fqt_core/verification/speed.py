"""Speed: how fast a device copies memory, and how fast it runs the operations on layers of networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from fqt_core.verification.cases import CASES, LAYERS, Layer
from fqt_core.verification.equality import kernel_on, moved

COPIED_BYTES = 256 << 20
"""Far more than any cache holds."""

BUDGET_SECONDS = 0.25
"""After this long a call that has been timed is not repeated any more."""

_AT_ONCE = 10
"""Calls that a GPU is given before it is waited for, so that the wait does not count."""


@dataclass(frozen=True)
class Speed:
    """Of the fastest call of one case: milliseconds, and ``figure`` in ``unit``: GMAC/s of products, else GB/s.

    ``share``, of what is measured in GB/s: ``figure`` divided by the rate at which the device copies memory.
    """

    operation: str
    kernel: str
    layer: str
    variant: str
    ms: float
    figure: float
    unit: str
    share: float | None


def fastest(call: Callable[[], object], repeats: int, device: torch.device = torch.device("cpu")) -> float:  # noqa: B008
    """Milliseconds of the fastest of up to ``repeats`` calls, after one to warm up."""
    at_once = 1 if device.type == "cpu" else _AT_ONCE
    call()
    _wait_for(device)
    best, begin = float("inf"), time.perf_counter()
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(at_once):
            call()
        _wait_for(device)
        end = time.perf_counter()
        best = min(best, (end - start) / at_once)
        if end - begin > BUDGET_SECONDS:
            break
    return best * 1000


def copy_bandwidth(device: torch.device, repeats: int = 10, size: int = COPIED_BYTES) -> float:
    """GB/s, bytes read and bytes written together, of a copy of ``size`` bytes within the device's memory."""
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / fastest(lambda: target.copy_(source), repeats, device) / 1e6


def measure(
    device: torch.device,
    operations: Iterable[str],
    bandwidth: float,
    *,
    layers: Sequence[Layer] = LAYERS,
    repeats: int = 10,
) -> Iterator[Speed]:
    """Time operations, as torch dispatches them, on a device that copies at ``bandwidth`` GB/s."""
    for operation in operations:
        call = getattr(torch.ops.fqt, operation).default
        for layer in layers:
            for case in CASES[operation](layer):
                arguments = tuple(moved(value, device) for value in case.arguments)
                ms = fastest(lambda call=call, given=arguments: call(*given), repeats, device)  # type: ignore[misc]
                figure = (case.macs or case.bytes) / ms / 1e6
                unit, share = ("GMAC/s", None) if case.macs else ("GB/s", figure / bandwidth)
                kernel = kernel_on(operation, device)
                yield Speed(operation, kernel, layer.name, case.variant, ms, figure, unit, share)


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
