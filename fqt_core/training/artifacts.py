"""The files that a finished run leaves.

model.safetensors    kind ``model``    packed, one bit per binarised weight; for prediction
weights.safetensors  kind ``weights``  full precision, latents included; for fine-tuning later
report.json          kind ``report``   description, result, conversion, initial weights, data and sizes

Those of the network are functions of its description and its data: they hold no times.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqt_core.events import ArtifactWritten, Done
from fqt_core.export import PackedReport, save_packed, save_weights
from fqt_core.files import write_atomically

if TYPE_CHECKING:
    from fqt_core.training.session import Session


_METRICS = ("validation_accuracy", "validation_loss", "train_accuracy", "best_epoch", "epochs", "step")


def write_artifacts(
    session: Session, folder: Path, *, done: Done, spec: Mapping[str, Any] | None = None, job: str | None = None
) -> Iterator[ArtifactWritten]:
    """Write the three files, one by one, each atomically; the report names the ``job`` and has the ``spec``.

    Raises:
        ConfigurationError: the network cannot be exported, e.g. because a weight is not finite.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    classes, result = session.dataset.classes, done.model_dump(mode="json", exclude={"type"})
    model_path, weights_path, report_path = (
        folder / name for name in ("model.safetensors", "weights.safetensors", "report.json")
    )
    packed = save_packed(
        session.model,
        model_path,
        classes=classes,
        preprocessing=session.trainer.preprocessing,
        spec=spec,
        metrics={name: result[name] for name in _METRICS if result[name] is not None},
    )
    sizes = {"bytes": packed.bytes, "fp32_bytes": packed.fp32_bytes, "ratio": packed.ratio}
    yield ArtifactWritten.of("model", model_path, sizes)
    save_weights(session.model, weights_path, classes=classes)
    yield ArtifactWritten.of("weights", weights_path, {})
    report = {"job": job, "spec": spec, "result": result} | _report(session, packed)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(report_path, text.encode())
    yield ArtifactWritten.of("report", report_path, {})


def _report(session: Session, packed: PackedReport) -> dict[str, Any]:
    data, split = session.trainer.data, session.trainer.data.split
    return {
        "method": session.method.model_dump(mode="json"),
        "conversion": {**session.conversion.totals(), "layers": session.conversion.to_json()},
        "initial_weights": session.weights.to_json() if session.weights is not None else None,
        "data": {
            "classes": data.classes,
            "format": session.dataset.format,
            "fingerprint": session.dataset.fingerprint,
            "train_images": data.train_images,
            "validation_images": data.validation_images,
            "split": {"seed": split.seed, "own_validation": split.own, "sha256": split.digest},
            "preprocessing": data.preprocessing.to_json(),
            "warnings": session.dataset.warnings,
        },
        "sizes": {key: value for key, value in packed.to_json().items() if key != "path"},
    }
