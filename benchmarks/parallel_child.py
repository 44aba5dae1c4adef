"""``python -m benchmarks.parallel_child SETTING FILE``: one process of a run, which says how fast it trains.

Run alone, or by each rank of :func:`fqt_core.parallel.launch.launch`; rank 0 writes the file.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.setting import CLASSES, Setting, parse_method
from fqt_core import ops
from fqt_core.allocator import keep_pages
from fqt_core.config import ParallelConfig
from fqt_core.data import ImageDataset
from fqt_core.events import GradientsExchanged, StepDone
from fqt_core.parallel.replicas import joined
from fqt_core.training import prepare
from fqt_core.training.replica import Replica

_WARM_UP = 2


def measure(setting: Setting, method: str, steps: int, replica: Replica | None) -> dict[str, Any]:
    """Train for one epoch; the median speed of its steps, and what was sent in them."""
    random = np.random.default_rng(0)
    count, size = (steps + _WARM_UP) * setting.batch, setting.image_size
    pixels = random.integers(0, 256, (count, setting.architecture.channels, size, size), dtype=np.uint8)
    options = {"epochs": 1, "validation_fraction": 0.0, "telemetry_every_steps": 0}
    session = prepare(
        architecture=setting.architecture,
        method=parse_method(method),
        training=setting.training.model_copy(update=options),
        data=ImageDataset(pixels, np.arange(count) % CLASSES, [f"class {i}" for i in range(CLASSES)]),
        device="cpu",
        replica=replica,
    )
    speeds, sent, full = [], 0, 0
    for event in session.trainer:
        if isinstance(event, StepDone):
            speeds.append(event.images_per_second)
        elif isinstance(event, GradientsExchanged):
            sent, full = event.bytes_sent // len(speeds), event.full_precision_bytes // len(speeds)
    return {
        "isa": ops.isa(),
        "images_per_second": statistics.median(speeds[_WARM_UP:]),
        "bytes_sent": sent,
        "full_precision_bytes": full,
    }


def main(arguments: list[str]) -> None:
    """Measure what ``SETTING`` (JSON) says."""
    asked, path = json.loads(arguments[0]), Path(arguments[1])
    setting, parallel = Setting(**asked["setting"]), asked["parallel"]
    torch.set_num_threads(setting.threads)
    keep_pages()
    group = joined(ParallelConfig(**parallel), torch.device("cpu")) if parallel else nullcontext()
    with group as replica:
        found = measure(setting, asked["method"], asked["steps"], replica)
    if int(os.environ.get("RANK", "0")) == 0:
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
