"""``python -m benchmarks.loop``: what the training loop of a job costs beyond its steps.

One epoch of :class:`fqt_core.training.Trainer` on images in memory, with everything that a job has on: images are
gathered, augmented and normalised, events are made and turned into JSON, figures of the quantisers are taken at their
usual pace, and a checkpoint is written and synced at the end; but for gradient telemetry, which comes too seldom for
one epoch to tell its share (:mod:`benchmarks.telemetry` does). Between its steps bare steps are taken on a network of
its own (:class:`benchmarks.networks.Ours`), so that whatever else the machine does meets both.

Writes a list with one object: ``model, method, image_size, batch, threads, isa, steps, step_ms`` (mean of the bare
steps), ``loop_ms`` (the whole epoch divided by its steps), ``overhead`` (``loop_ms / step_ms - 1``) and
``checkpoint_ms``, what of the epoch the checkpoint took: as long after a few steps as after many, and a job writes one
at its end and, after epochs, no more than :data:`fqt_core.training.trainer.CHECKPOINT_SHARE` of its time allows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.cli import Parser, add_setting, number, run
from benchmarks.setting import CLASSES, Setting, parse_method
from fqt_core.allocator import keep_pages
from fqt_core.config.training import AugmentConfig

_WARM_UP = 2


def measure(setting: Setting, method: str, steps: int) -> dict[str, Any]:
    """Run one epoch of ``steps`` steps, and as many bare steps in between."""
    import numpy as np  # noqa: PLC0415 - after FQT_ISA is set
    import torch  # noqa: PLC0415

    from benchmarks.networks import Ours  # noqa: PLC0415
    from fqt_core import ops  # noqa: PLC0415
    from fqt_core.convert import convert_  # noqa: PLC0415
    from fqt_core.data import ImageDataset  # noqa: PLC0415
    from fqt_core.events import CheckpointWritten, StepDone  # noqa: PLC0415
    from fqt_core.models import build  # noqa: PLC0415
    from fqt_core.training import Trainer  # noqa: PLC0415

    torch.set_num_threads(setting.threads)
    keep_pages()
    random = np.random.default_rng(0)
    count, size = steps * setting.batch, setting.image_size
    pixels = random.integers(0, 256, (count, setting.architecture.channels, size, size), dtype=np.uint8)
    data = ImageDataset(pixels, np.arange(count) % CLASSES, [f"class {i}" for i in range(CLASSES)])
    augment = AugmentConfig(pad_crop=4, horizontal_flip=True)
    options = {"epochs": 1, "validation_fraction": 0.0, "augment": augment, "telemetry_every_steps": 0}
    config = setting.training.model_copy(update=options)
    model = build(setting.architecture, num_classes=CLASSES)
    convert_(model, parse_method(method))
    bare = Ours(setting, parse_method(method))
    for _ in range(_WARM_UP):
        bare.step()
    bare_times: list[float] = []
    total = checkpoint = 0.0
    with tempfile.TemporaryDirectory() as folder:
        events = iter(Trainer(model, data, config, checkpoint_dir=Path(folder)))
        while True:
            begin = time.perf_counter()
            event = next(events, None)
            if event is not None:
                event.model_dump_json()
            taken = time.perf_counter() - begin
            total += taken
            if event is None:
                break
            if isinstance(event, CheckpointWritten):
                checkpoint += taken
            if isinstance(event, StepDone):
                begin = time.perf_counter()
                bare.step()
                bare_times.append(time.perf_counter() - begin)
    step_ms, loop_ms = statistics.mean(bare_times) * 1e3, total / steps * 1e3
    fields = {"method": method, "isa": ops.isa(), "steps": steps, "step_ms": step_ms, "loop_ms": loop_ms}
    return {**setting.to_json(), **fields, "overhead": loop_ms / step_ms - 1, "checkpoint_ms": checkpoint * 1e3}


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.loop", description="What a job's training loop costs beyond its steps.")
    add_setting(parser)
    parser.add_argument("--steps", type=number, default=50, help="steps of the epoch")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    os.environ["FQT_ISA"] = given.isa
    setting = Setting(given.model, given.image_size, given.batch, given.threads, given.isa)
    row = measure(setting, given.method, given.steps)
    if given.json is not None:
        results.write(given.json, [row])
    sys.stdout.write(
        f"{setting.title()}, {given.method} on {row['isa']}: step {row['step_ms']:.1f} ms, "
        f"in a job's loop {row['loop_ms']:.1f} ms ({row['overhead']:+.1%}), of which its checkpoint took "
        f"{row['checkpoint_ms'] / row['steps']:.1f} ms ({row['checkpoint_ms']:.0f} in all)\n"
    )


if __name__ == "__main__":
    run("benchmarks.loop", main)
