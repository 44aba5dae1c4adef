"""What a run is and what it runs on, as JSON: for checkpoints and for the ``Started`` event."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from fqt_core.config import MethodConfig, ParallelConfig, TrainConfig
from fqt_core.conversion.report import ConversionReport
from fqt_core.data.batches import TrainingData
from fqt_core.layers import BinaryLayer, QuantizedLayer
from fqt_core.training.teacher import Teacher

_CADENCE = ("checkpoint_every_steps", "statistics_every_steps", "telemetry_every_steps")
"""Options that say when something is reported; a resumed run may change them."""


def run_identity(
    config: TrainConfig,
    data: TrainingData,
    layers: Collection[BinaryLayer | QuantizedLayer],
    teacher: Teacher | None,
    asked: MethodConfig | None = None,
    parallel: ParallelConfig | None = None,
) -> dict[str, Any]:
    """What a run is; a checkpoint of a run with another identity is refused.

    ``asked``: the method as it was asked for, if the layers' methods were chosen for it. ``parallel``: how the run is
    divided; a run of one process has no such entry.
    """
    training = config.model_dump(mode="json")
    for field in _CADENCE:
        training.pop(field)
    methods = {layer.method.model_dump_json() for layer in layers}
    divided = {} if parallel is None else {"parallel": parallel.model_dump(mode="json")}
    return {
        **divided,
        "training": training,
        "methods": sorted(methods) or ["full precision"],
        "chosen_for": None if asked is None else asked.model_dump(mode="json"),
        "classes": data.classes,
        "data": data.dataset.fingerprint,
        "split": data.split.digest,
        "teacher": None if teacher is None else teacher.digest,
    }


def run_environment(device: torch.device) -> dict[str, Any]:
    """What a run runs on. Results are promised to be the same bit for bit only where this is the same."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), "device": str(device)}


def conversion_rows(model: nn.Module) -> list[dict[str, Any]]:
    """The rows of the report that conversion left on the network; none if it was not converted."""
    report = getattr(model, "fqt_report", None)
    return report.to_json() if isinstance(report, ConversionReport) else []


def arithmetic_of(layers: Collection[BinaryLayer | QuantizedLayer]) -> str:
    """What the products of the converted layers run in; ``float`` without any."""
    return "+".join(sorted({layer.method.arithmetic for layer in layers} or {"float"}))
