"""What the demo shows at its end: the table, the predictions, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fqt_client import Artifact, Job
from fqt_client.cli.output import bytes_text, duration_text, print_line, print_table, share_text

if TYPE_CHECKING:
    from service.demo_data import HeldOut

Told = tuple["HeldOut", str, float]
"""A held-out image, the predicted class, and the probability that the model gives it."""

SHOWN = 10
TILE = 64
CAPTION = 16
COLUMNS = 20


@dataclass(frozen=True)
class Stage:
    """One job of the demo, when it has ended, and the model that it left."""

    title: str
    digits: str
    job: Job
    model: Artifact

    @property
    def accuracy(self) -> float:
        """Validation accuracy of the kept model, 0 to 1."""
        return float((self.job.result or {}).get("validation_accuracy") or 0.0)


def summary(stages: Sequence[Stage], model: Path, told: Sequence[Told], *, seconds: float) -> dict[str, Any]:
    """The figures of the demo, fit for JSON. Sizes are in bytes, times in seconds, accuracies from 0 to 1."""
    return {
        "seconds": round(seconds, 1),
        "jobs": [
            {
                "job": stage.job.id,
                "title": stage.title,
                "digits": stage.digits,
                "method": stage.job.spec["method"]["name"],
                "accuracy": stage.accuracy,
                "seconds": stage.job.seconds,
                "model_bytes": stage.model.size,
                "fp32_bytes": stage.model.details.get("fp32_bytes"),
                "record": {
                    name: (stage.job.record or {}).get(name) for name in ("arithmetic", "isa", "threads", "device")
                },
            }
            for stage in stages
        ],
        "model": str(model),
        "held_out": {
            "images": len(told),
            "accuracy": sum(entry.label == label for entry, label, _ in told) / len(told),
            "predictions": [
                {"image": str(entry.path), "true": entry.label, "predicted": label, "probability": probability}
                for entry, label, probability in told
            ],
        },
    }


def show(figures: dict[str, Any], directory: Path) -> None:
    """Print the table, a few predictions, and where everything lies."""
    print_line("")
    rows = []
    for job in figures["jobs"]:
        full = job["fp32_bytes"]
        rows.append(
            (
                job["title"],
                job["digits"],
                share_text(job["accuracy"]),
                duration_text(job["seconds"]),
                job["record"]["arithmetic"],
                bytes_text(job["model_bytes"]),
                bytes_text(full),
                f"{full / job['model_bytes']:.1f}x" if full else "–",
            )
        )
    columns = ("job", "digits", "accuracy", "time", "arithmetic", "model", "in FP32", "ratio")
    print_table(columns, rows, empty="no jobs")

    held_out = figures["held_out"]
    right = round(held_out["accuracy"] * held_out["images"])
    print_line(f"\nThe model on {held_out['images']} images that no training has seen: {right} right. Some of them:\n")
    step = max(1, held_out["images"] // SHOWN)
    shown = held_out["predictions"][::step][:SHOWN]
    print_table(
        ("image", "true", "predicted", ""),
        [
            (
                Path(entry["image"]).name,
                entry["true"],
                f"{entry['predicted']} ({share_text(entry['probability'])})",
                "right" if entry["true"] == entry["predicted"] else "wrong",
            )
            for entry in shown
        ],
        empty="no images",
    )
    print_line(f"\nModel        {directory / 'model.safetensors'}")
    print_line(f"Images       {directory / 'held-out'} (all with their predictions: {directory / 'predictions.png'})")
    print_line(f"Figures      {directory / 'summary.json'}")
    print_line(f"Try it       fqt predict {directory / 'model.safetensors'} {directory / 'held-out'}")
    print_line(f"Took         {duration_text(figures['seconds'])}")


def draw_predictions(told: Sequence[Told], path: Path) -> None:
    """Draw every held-out image, large, with the predicted class below it: green if it is right, red if not."""
    from PIL import Image, ImageDraw  # noqa: PLC0415 - slow to import, and only the demo draws

    height = TILE + CAPTION
    rows = -(-len(told) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (entry, label, _) in enumerate(told):
        left, top = index % COLUMNS * TILE, index // COLUMNS * height
        with Image.open(entry.path) as image:
            sheet.paste(image.convert("RGB").resize((TILE, TILE), Image.Resampling.NEAREST), (left, top))
        colour = "green" if label == entry.label else "red"
        text = label if label == entry.label else f"{label} (is {entry.label})"
        draw.text((left + 4, top + TILE + 2), text, fill=colour)
    sheet.save(path)
