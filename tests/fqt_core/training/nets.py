"""Small networks and data for tests of the trainer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fqt_core.config import AugmentConfig, Method, TrainConfig
from fqt_core.convert import convert_
from fqt_core.data import ImageDataset
from fqt_core.events import AnyEvent
from fqt_core.layers import BinaryConv2d
from fqt_core.random import PhiloxState
from fqt_core.training import Trainer, seeded_init

CLASSES = ["left", "right", "top"]


def pictures(count: int = 90, own: int = 0, seed: int = 0) -> ImageDataset:
    """Noise that is brighter on one side, which is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = rng.integers(0, 160, (count, 1, 8, 8))
    images[labels == 0, :, :, :4] += 60
    images[labels == 1, :, :, 4:] += 60
    images[labels == 2, :, :4, :] += 60
    held = pictures(own, seed=seed + 1) if own else None
    return ImageDataset(images.astype(np.uint8), labels.astype(np.int64), CLASSES, validation=held)


def network(method: str = "fp32", seed: int = 0, classes: int = 3, **options: Any) -> nn.Module:
    """Stem, two (binarised) convolutions, dropout, head; all kinds of parameters."""
    state = PhiloxState()

    config = Method(method, **options)

    def convolution(index: int) -> nn.Module:
        if not config.binarises:
            return nn.Conv2d(8, 8, 3, padding=1)
        return BinaryConv2d(8, 8, 3, padding=1, method=config, state=state, layer_index=index)

    with seeded_init(seed):
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            convolution(1),
            nn.BatchNorm2d(8),
            nn.AvgPool2d(2),
            convolution(2),
            nn.BatchNorm2d(8),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(32, classes),
        )
    model.fqt_state = state  # type: ignore[assignment]
    if config.converts and not config.binarises:
        convert_(model, config)
    return model


def config(**options: Any) -> TrainConfig:
    plain: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 16,
        "learning_rate": 5e-3,
        "head_learning_rate": 5e-3,
        "augment": AugmentConfig(pad_crop=1, horizontal_flip=False),
        "statistics_every_steps": 4,
        "telemetry_every_steps": 4,
        "seed": 5,
    }
    return TrainConfig(**{**plain, **options})


def train(model: nn.Module, wanted: TrainConfig, data: ImageDataset | None = None, **options: Any) -> list[AnyEvent]:
    """Run to the end and return all events."""
    return list(Trainer(model, data if data is not None else pictures(), wanted, **options))


def stop_after(model: nn.Module, wanted: TrainConfig, polls: int, folder: Path, **options: Any) -> list[AnyEvent]:
    """Run until ``should_stop`` has been asked ``polls`` times."""
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > polls

    return train(model, wanted, checkpoint_dir=folder, should_stop=should_stop, **options)


def sha256(model: nn.Module) -> str:
    """Over all names and bytes of the state dict."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def figures(events: list[AnyEvent]) -> list[dict[str, Any]]:
    """Events without what depends on the clock or the disk."""
    timed = {"images_per_second", "seconds"}
    return [
        {key: value for key, value in event.model_dump().items() if key not in timed}
        for event in events
        if event.type in {"step", "epoch", "quantization", "telemetry", "warning", "done"}
    ]
