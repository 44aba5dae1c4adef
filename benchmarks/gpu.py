"""Whole training steps on a GPU against PyTorch there: ``python -m benchmarks.gpu --help``; a part of ``make bench``.

Each side's steps are given to the GPU in a row and waited for together, and the fastest row counts. PyTorch trains in
float32 and with autocast to bfloat16, channels last, with its fused Adam.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import results
from benchmarks.cli import Parser, number, run, say
from benchmarks.errors import BenchmarkError
from benchmarks.networks import Baseline, Ours
from benchmarks.setting import Setting, parse_method
from fqt_core.conversion.on_device import kernels_on
from fqt_core.layers import trained_layers
from fqt_core.training.device import missing_gpu
from fqt_core.verification.report import name_of
from fqt_core.verification.speed import fastest


def measure(device: torch.device, setting: Setting, methods: Sequence[str], repeats: int) -> list[results.Row]:
    """Milliseconds of a step with each method, and of PyTorch's."""
    theirs = {}
    for name, bfloat16 in (("fp32", False), ("bf16", True)):
        baseline = Baseline(setting, bfloat16=bfloat16, memory_format="channels_last", device=device)
        theirs[name] = fastest(baseline.step, repeats, device)
    rows = []
    for method in methods:
        ours = Ours(setting, parse_method(method), device=device)
        ms = fastest(ours.step, repeats, device)
        rows.append(
            {
                "gpu": name_of(device),
                "torch": torch.__version__,
                "model": setting.model,
                "image_size": setting.image_size,
                "batch": setting.batch,
                "threads": setting.threads,
                "method": method,
                "isa": kernels_on(device, trained_layers(ours.model)),
                "ours_ms": round(ms, 3),
                **{f"torch_{name}_ms": round(found, 3) for name, found in theirs.items()},
                **{f"ratio_{name}": round(found / ms, 3) for name, found in theirs.items()},
            }
        )
    return rows


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.gpu", description="Measure training steps on a GPU against PyTorch there.")
    parser.add_argument("--model", required=True, help="vgg16 or resnet18")
    parser.add_argument("--image-size", type=number, default=32, help="pixels; from 65 the stem is that of ImageNet")
    parser.add_argument("--batch", type=number, default=128, help="images per step")
    parser.add_argument("--method", action="append", help="fqt, psq8, qat, …; may be given several times")
    parser.add_argument("--repeats", type=number, default=5, help="rows of timed steps of each side")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    if (missing := missing_gpu()) is not None:
        raise BenchmarkError(missing)
    setting = Setting(given.model, given.image_size, given.batch)
    say(setting.title())
    rows = measure(torch.device("cuda"), setting, given.method or ["fqt"], given.repeats)
    for row in rows:
        sys.stdout.write(
            f"{row['method']} on {row['isa']} {row['ours_ms']:.2f} ms; PyTorch fp32 {row['torch_fp32_ms']:.2f} ms, "
            f"bf16 {row['torch_bf16_ms']:.2f} ms\n"
        )
    if given.json is not None:
        results.write(given.json, rows)


if __name__ == "__main__":
    run("benchmarks.gpu", main)
