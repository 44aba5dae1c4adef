"""A process that trains one run: its argument is the run's folder (see :mod:`benchmarks.accuracy.runs`)."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from benchmarks.accuracy.runs import DESCRIPTION, RESULT
from fqt_core.allocator import keep_pages
from fqt_core.code_pages import CodePages
from fqt_core.config import AnyArchitecture, AnyMethod, ArchitectureConfig, MethodConfig, TrainConfig
from fqt_core.events import ArtifactWritten, Done, EpochDone, Started, StepDone
from fqt_core.files import write_atomically
from fqt_core.training.session import prepare

_ARCHITECTURE: TypeAdapter[ArchitectureConfig] = TypeAdapter(AnyArchitecture)
_METHOD: TypeAdapter[MethodConfig] = TypeAdapter(AnyMethod)


_CURVE_POINTS = 120


def thinned(steps: list[tuple[int, float]]) -> list[dict[str, float]]:
    """A curve of at most :data:`_CURVE_POINTS` points: step and loss, means over equal spans; ``step`` is the last."""
    span = -(-len(steps) // _CURVE_POINTS) or 1
    spans = [steps[begin : begin + span] for begin in range(0, len(steps), span)]
    return [{"step": part[-1][0], "loss": statistics.mean(loss for _, loss in part)} for part in spans]


def train(folder: Path) -> dict[str, Any]:
    """Train what the folder describes; give what is worth knowing of it."""
    told = json.loads((folder / DESCRIPTION).read_text())
    torch.set_num_threads(told["threads"])
    keep_pages()
    session = prepare(
        architecture=_ARCHITECTURE.validate_python(told["architecture"]),
        method=_METHOD.validate_python(told["method"]),
        training=TrainConfig.model_validate(told["training"]),
        data=Path(told["data"]),
        classes=told["classes"],
        initial_weights=told["initial_weights"],
        device="cpu",
    )
    result: dict[str, Any] = {"epochs": []}
    begin = time.process_time()
    steps: list[tuple[int, float]] = []
    pages = CodePages()
    for event in session.run(folder):
        if isinstance(event, Started):
            result |= {"isa": event.isa, "arithmetic": event.arithmetic}
        elif isinstance(event, StepDone):
            steps.append((event.step, event.loss))
            pages.step_done()
        elif isinstance(event, EpochDone):
            before = result["epochs"][-1]["seconds"] if result["epochs"] else 0.0
            figures = {
                "cpu_seconds": time.process_time() - begin,
                "val": event.validation_accuracy,
                "train_loss": event.train_loss,
            }
            result["epochs"].append({"epoch": event.epoch, "seconds": before + event.seconds, **figures})
            result["images_per_second"] = event.images_per_second
        elif isinstance(event, ArtifactWritten) and event.kind == "weights":
            result["weights_sha256"] = event.sha256
        elif isinstance(event, Done):
            result |= {"val": event.validation_accuracy, "seconds": event.seconds}
    return result | {"curve": thinned(steps)}


def main() -> None:
    """The process."""
    folder = Path(sys.argv[1])
    write_atomically(folder / RESULT, (json.dumps(train(folder), indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
