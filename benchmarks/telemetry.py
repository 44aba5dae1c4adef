"""``python -m benchmarks.telemetry``: what gradient telemetry costs.

Steps (:class:`benchmarks.networks.Ours`) and probes of the same network are timed in turns, so that whatever else the
machine does meets both.

Writes a list with one object: ``model, method, image_size, batch, threads, isa, images`` (of a probe), ``every`` (steps
between probes by default), ``step_ms`` and ``probe_ms`` (medians), ``per_image`` (a probed image's time by a trained
one's) and ``share`` (of the training time, by default).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.cli import Parser, add_setting, number, run
from benchmarks.setting import Setting, parse_method
from fqt_core.allocator import keep_pages


def measure(setting: Setting, method: str, repeats: int) -> dict[str, Any]:
    """Time ``repeats`` steps and as many probes, after one of each."""
    import torch  # noqa: PLC0415 - after FQT_ISA is set

    from benchmarks.networks import Ours  # noqa: PLC0415
    from fqt_core import ops  # noqa: PLC0415
    from fqt_core.training.probe import GradientProbe  # noqa: PLC0415
    from fqt_core.training.telemetry import interval, probed_images  # noqa: PLC0415

    torch.set_num_threads(setting.threads)
    keep_pages()
    ours = Ours(setting, parse_method(method))
    probe = GradientProbe(ours.model, ours.statistics.layers)
    count = probed_images(setting.batch, setting.image_size)
    images, labels = (tensor[:count] for tensor in ours.next_batch())
    ours.step()
    probe.measure(images, labels, seed=0, step=0)
    steps, probes = [], []
    for turn in range(repeats):
        steps.append(_seconds(ours.step))
        probes.append(_seconds(partial(probe.measure, images, labels, seed=0, step=turn)))
    step, probed, every = statistics.median(steps), statistics.median(probes), interval(setting.training, count)
    return {
        **setting.to_json(),
        "method": method,
        "isa": ops.isa(),
        "images": count,
        "every": every,
        "step_ms": step * 1e3,
        "probe_ms": probed * 1e3,
        "per_image": (probed / count) / (step / setting.batch),
        "share": probed / (step * every),
    }


def _seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.telemetry", description="What gradient telemetry costs.")
    add_setting(parser)
    parser.add_argument("--repeats", type=number, default=7, help="timed steps and probes")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    os.environ["FQT_ISA"] = given.isa
    setting = Setting(given.model, given.image_size, given.batch, given.threads, given.isa)
    row = measure(setting, given.method, given.repeats)
    if given.json is not None:
        results.write(given.json, [row])
    sys.stdout.write(
        f"{setting.title()}, {given.method} on {row['isa']}: step {row['step_ms']:.0f} ms, "
        f"probe of {row['images']} images {row['probe_ms']:.0f} ms ({row['per_image']:.1f} trained images each), "
        f"every {row['every']} steps: {row['share']:.2%} of the time\n"
    )


if __name__ == "__main__":
    run("benchmarks.telemetry", main)
