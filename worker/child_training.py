"""What a training child does, from ``job.json`` to the result files. Imports torch: for children only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fqt_core import export
from fqt_core.allocator import keep_pages
from fqt_core.conversion.report import ConversionReport
from fqt_core.convert import convert_
from fqt_core.data import load_dataset
from fqt_core.errors import CheckpointError
from fqt_core.events import ArtifactWritten, Done, LogLine
from fqt_core.models import WeightReport, build, load_weights
from fqt_core.training import Trainer, seeded_init
from worker.child_errors import UnusableInputError
from worker.lifeline import Lifeline
from worker.protocol import Exit, TrainingInput

_REPORT_METRICS = ("validation_accuracy", "validation_loss", "train_accuracy", "best_epoch", "epochs", "step")


def train(data: TrainingInput, folder: Path, lifeline: Lifeline) -> Exit:
    """Train the job and write its files, reporting all along.

    Raises:
        UnusableInputError: there is no GPU, or the initial weights or the teacher cannot be used.
        fqt_core.errors.FqtError: whatever the library refuses.
    """
    spec = data.spec
    device = _device(data.device)
    torch.set_num_threads(data.threads)
    keep_pages()
    dataset = load_dataset(
        data.dataset,
        classes=spec.classes,
        channels=spec.architecture.channels,
        image_size=spec.architecture.image_size,
    )
    with seeded_init(spec.training.seed):
        model = build(spec.architecture, num_classes=len(dataset.classes))
    weights = _initial_weights(model, data, dataset.classes, lifeline)
    conversion = convert_(model, spec.method, seed=spec.training.seed)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    trainer = Trainer(
        model,
        dataset,
        spec.training,
        checkpoint_dir=checkpoints,
        resume_from=data.resume_from,
        should_stop=lifeline.stop.is_set,
        device=device,
        report=conversion.to_json(),
        teacher=_teacher(data),
    )
    done: Done | None = None
    for event in trainer:
        if lifeline.cancel.is_set():
            return Exit.CANCELLED
        if isinstance(event, Done):
            done = event  # said only when the files are there
        else:
            lifeline.send(event)
    if done is None:
        return Exit.STOPPED
    for artifact in _files(data, folder, trainer, done, conversion, weights):
        lifeline.send(artifact)
    lifeline.send(done)
    return Exit.DONE


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        message = "this worker has no GPU that torch can use; use device 'auto' or 'cpu'"
        raise UnusableInputError(message, "no_cuda", "device")
    use_cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def _initial_weights(
    model: nn.Module, data: TrainingInput, classes: list[str], lifeline: Lifeline
) -> WeightReport | None:
    if data.initial_weights is None or data.resume_from is not None:
        return None
    try:
        report = load_weights(model, data.initial_weights, classes=classes)
    except (CheckpointError, OSError) as error:
        raise UnusableInputError(str(error), "initial_weights_unusable", "initial_weights") from error
    left = "; ".join(f"{name}: {reason}" for name, reason in report.skipped.items())
    message = f"took {len(report.taken)} tensors from {data.spec.initial_weights}"
    lifeline.send(LogLine(message=f"{message}; not taken: {left}" if left else message))
    return report


def _teacher(data: TrainingInput) -> export.PackedModel | None:
    if data.teacher is None:
        return None
    try:
        return export.load(data.teacher)
    except (CheckpointError, OSError) as error:
        raise UnusableInputError(str(error), "teacher_unusable", "teacher") from error


def _files(
    data: TrainingInput,
    folder: Path,
    trainer: Trainer,
    done: Done,
    conversion: ConversionReport,
    weights: WeightReport | None,
) -> list[ArtifactWritten]:
    """Write the result files. Those of the network are functions of spec and data, so they hold no times."""
    classes = trainer.data.classes
    spec = data.spec.model_dump(mode="json")
    metrics = {name: getattr(done, name) for name in _REPORT_METRICS}
    model_path, weights_path, report_path = (
        folder / name for name in ("model.safetensors", "weights.safetensors", "report.json")
    )
    packed = export.save_packed(
        trainer.model,
        model_path,
        classes=classes,
        preprocessing=trainer.preprocessing,
        spec=spec,
        metrics={name: value for name, value in metrics.items() if value is not None},
    )
    export.save_weights(trainer.model, weights_path, classes=classes)
    sizes: dict[str, Any] = {key: value for key, value in packed.to_json().items() if key != "path"}
    report = {
        "job": data.job_id,
        "spec": spec,
        "classes": classes,
        "metrics": metrics | {"seconds": done.seconds, "reason": done.reason},
        "conversion": {**conversion.totals(), "layers": conversion.to_json()},
        "initial_weights": None if weights is None else weights.to_json(),
        "sizes": sizes,
    }
    report_path.write_text(json.dumps(report, indent=1))
    size = {"bytes": packed.bytes, "fp32_bytes": packed.fp32_bytes, "ratio": packed.ratio}
    return [
        _written("model", model_path, size),
        _written("weights", weights_path, {}),
        _written("report", report_path, {}),
    ]


def _written(kind: str, path: Path, details: dict[str, Any]) -> ArtifactWritten:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return ArtifactWritten(kind=kind, path=str(path), sha256=sha256, size=path.stat().st_size, details=details)
