"""``python -m benchmarks.noise``: how noisy gradients may be before a network stops learning.

A small network (full-precision stem of 32 channels, five binarised 3x3 convolutions, linear head) learns one of the
built-in data sets from scratch with gradients from exact to hopeless; or a built-in network at a quarter of its width
does (``--model``). Beside it stands a run whose binarised weights
never move, ``frozen``: a method that does no better has gradients that nothing can be learned from.

Prints, and writes, a row for each: ``data, model, epochs, steps, seed, frozen`` (layers), ``method, options, accuracy``
(the best on validation images), and means over the run's telemetry, from the first binarised layer to the last:
``cosine`` and ``variance`` of the accumulated dL/dΘ, and ``own``, the local cosine of dL/dX.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import results
from benchmarks.cli import Parser, number, run
from fqt_core.allocator import keep_pages
from fqt_core.config import ARCHITECTURES, Method, TrainConfig
from fqt_core.convert import convert_
from fqt_core.data import ImageDataset, load_dataset
from fqt_core.events import Done, GradientTelemetry
from fqt_core.layers import BinaryLayer
from fqt_core.models import build
from fqt_core.training import Trainer, seeded_init

FROZEN, SMALL = "frozen", "small"

METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("qat", {}),
    (FROZEN, {}),
    ("psq", {"bits": 8}),
    ("psq", {"bits": 4}),
    ("psq", {"bits": 2}),
    ("psq", {"bits": 1}),
    ("psq", {"bits": 1, "clip": 2.0}),
    ("psq", {"bits": 1, "clip": 1.0}),
    ("fqt", {}),
    ("fqt", {"pruning": "bernoulli"}),
    ("fqt", {"pruning": "topk"}),
    ("fqt", {"bits": 2}),
    ("fqt", {"bits": 2, "clip": 2.0}),
    ("fqt", {"bits": 8}),
    ("fqt", {"bits": 4, "keep": 1 / 16}),
    ("fqt", {"bits": 1, "keep": 0.25}),
)

SIZES = {"digits": 16, "fashion-mnist": 28}
"""Sides of the images."""

_TRAIN, _VALIDATION, _BATCH, _RATE, _EVERY = 6400, 2000, 64, 3e-3, 40


def network(name: str, size: int, classes: int) -> nn.Module:
    """For grey images of ``size`` pixels; ``small``, or an architecture by name."""
    if name != SMALL:
        options = {"name": name, "stem": "small", "image_size": size, "channels": 1, "width": 0.25}
        return build(ARCHITECTURES[name].model_validate(options), num_classes=classes)
    modules: list[nn.Module] = [nn.Conv2d(1, 32, 5, padding=2, bias=False), nn.BatchNorm2d(32)]
    for inputs, outputs, stride in ((32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 64, 2), (64, 64, 1)):
        modules += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    side = (size + 3) // 4 // 2
    return nn.Sequential(*modules, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64 * side**2, classes))


def images(name: str, seed: int) -> ImageDataset:
    """A built-in data set; of a large one, some thousand images."""
    data = load_dataset(name, channels=1, image_size=SIZES[name])
    if data.validation is None:
        return data
    parts = []
    for part, count, key in ((data, _TRAIN, seed), (data.validation, _VALIDATION, 1)):
        chosen = np.random.default_rng(key).permutation(len(part.images))[:count]
        parts.append((part.images[chosen], part.labels[chosen], data.classes))
    return ImageDataset(*parts[0], validation=ImageDataset(*parts[1]))


def measure(
    name: str, model_name: str, epochs: int, seed: int, freeze: int, method: str, options: dict[str, Any]
) -> results.Row:
    """Train once, with the weights of the first ``freeze`` binarised layers as they are."""
    data = images(name, seed)
    with seeded_init(seed):
        model = network(model_name, SIZES[name], len(data.classes))
    convert_(model, Method("qat" if method == FROZEN else method, **options), seed=seed)
    binarised = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    for layer in binarised if method == FROZEN else binarised[:freeze]:
        layer.weight.requires_grad_(False)
    config = TrainConfig(epochs=epochs, batch_size=_BATCH, seed=seed, learning_rate=_RATE, telemetry_every_steps=_EVERY)
    trainer = Trainer(model, data, config)
    reports: list[GradientTelemetry] = []
    accuracy: float | None = None
    for event in trainer:
        if isinstance(event, GradientTelemetry):
            reports.append(event)
        elif isinstance(event, Done):
            accuracy = event.validation_accuracy

    def means(figure: str) -> list[float]:
        return [
            statistics.mean(report.layers[layer][figure] for report in reports if figure in report.layers[layer])
            for layer in reports[0].layers
        ]

    return {
        "data": name,
        "model": model_name,
        "epochs": epochs,
        "steps": trainer.total_steps,
        "seed": seed,
        "frozen": len(binarised) if method == FROZEN else freeze,
        "method": method,
        "options": options,
        "accuracy": accuracy,
        "cosine": means("accumulated_dw_cosine"),
        "variance": means("accumulated_dw_relative_variance"),
        "own": means("dx_cosine"),
    }


def line(row: results.Row) -> str:
    """A row as text."""
    options = " ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in row["options"].items()
    )
    cosines = " ".join(f"{cosine:5.2f}" for cosine in row["cosine"])
    variances = " ".join(f"{variance:8.2g}" for variance in row["variance"])
    return f"{row['method']:6} {options:26} accuracy {row['accuracy']:6.1%}   cosine {cosines}   variance {variances}\n"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="benchmarks.noise", description="How noisy gradients may be before a network stops learning.")
    parser.add_argument("--data", choices=sorted(SIZES), default="digits")
    parser.add_argument("--model", choices=(SMALL, *sorted(ARCHITECTURES)), default=SMALL)
    parser.add_argument("--epochs", type=number, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--freeze", type=int, default=0, help="binarised layers, from the first, that never move")
    parser.add_argument("--only", type=number, nargs="*", help="numbers of the rows to run, from 1")
    parser.add_argument("--json", type=Path, help="file to write")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    given = _arguments(arguments)
    torch.set_num_threads(1)
    keep_pages()
    rows = []
    for place, (method, options) in enumerate(METHODS, start=1):
        if given.only is None or place in given.only:
            rows.append(measure(given.data, given.model, given.epochs, given.seed, given.freeze, method, options))
            sys.stdout.write(line(rows[-1]))
            sys.stdout.flush()
    if given.json is not None:
        results.write(given.json, rows)


if __name__ == "__main__":
    run("benchmarks.noise", main)
