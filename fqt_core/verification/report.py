"""The whole report of a device, as `fqt doctor --gpu` and ``python -m fqt_core.verification`` give it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from fqt_core.verification.cases import CASES, LAYERS, Layer
from fqt_core.verification.equality import Verdict, verify
from fqt_core.verification.speed import Speed, copy_bandwidth, measure

MEASURED = (LAYERS[0], LAYERS[2], LAYERS[6])
"""An early and a middle stage of VGG-16 on 32 pixels, and a stage of ResNet-18 on 224 that halves the image."""


@dataclass(frozen=True)
class Report:
    """What was found about a device. ``copy_gb_per_s`` is ``None`` where nothing was measured."""

    device: str
    name: str
    torch: str
    verdicts: list[Verdict]
    copy_gb_per_s: float | None
    speeds: list[Speed]

    @property
    def equal(self) -> bool:
        """Whether every operation gives the reference's results."""
        return all(verdict.equal for verdict in self.verdicts)

    @property
    def kernels(self) -> int:
        """Operations that the device has kernels of its own for."""
        return sum(verdict.kernel != "reference" for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """A record for programs."""
        return asdict(self) | {"equal": self.equal, "kernels": self.kernels}


def name_of(device: torch.device) -> str:
    """The device's name, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def examine(
    device: torch.device,
    operations: Sequence[str] = tuple(CASES),
    *,
    layers: Sequence[Layer] = MEASURED,
    repeats: int = 10,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Verify operations on a device, and time those that it has kernels of its own for on ``layers``.

    A kernel that gives something else is not timed.
    """
    verdicts = []
    for verdict in verify(device, operations):
        verdicts.append(verdict)
        progress(verdict_line(verdict))
    timed = [verdict.operation for verdict in verdicts if verdict.equal and verdict.kernel != "reference"]
    bandwidth, speeds = None, []
    if layers and timed:
        bandwidth = copy_bandwidth(device, repeats)
        progress(f"copies memory at {bandwidth:.0f} GB/s")
        for speed in measure(device, timed, bandwidth, layers=layers, repeats=repeats):
            speeds.append(speed)
            progress(speed_line(speed))
    return Report(str(device), name_of(device), torch.__version__, verdicts, bandwidth, speeds)


def verdict_line(verdict: Verdict) -> str:
    """One line for people."""
    found = "equal" if verdict.equal else verdict.error or f"{len(verdict.differing)} differ: {verdict.differing[0]}"
    return f"{verdict.operation:28} {verdict.kernel:10} {verdict.cases:3} cases  {' '.join(found.split())}"


def speed_line(speed: Speed) -> str:
    """One line for people."""
    share = "" if speed.share is None else f"{speed.share:.0%} of a copy"
    where = f"{speed.layer}{speed.variant and f' ({speed.variant})'}"
    return f"{speed.operation:28} {speed.ms:9.4f} ms {speed.figure:10.1f} {speed.unit:6} {share:>15}  {where}"
