"""The images of a protocol: for pre-training, fine-tuning, choosing and testing; drawn by seed, but for the test's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.accuracy.protocols import Protocol
from benchmarks.errors import BenchmarkError
from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.data import ImageDataset, load_dataset

_TEST_DRAW = 0
"""Seed of what is set aside for the test: the same images whatever the run's seed is."""


@dataclass(frozen=True)
class Parts:
    """Files (NPZ) of pre-training and fine-tuning, the latter with its validation part; and the test images."""

    before: Path
    after: Path
    test: ImageDataset


def prepare(protocol: Protocol, image_size: int, seed: int, folder: Path) -> Parts:
    """Draw the parts, and write files that an upload takes as they are.

    Raises:
        BenchmarkError: there are too few images, or the data set is not on this machine.
    """
    row = BUILTIN_DATASETS[protocol.dataset]
    if not row.installed():
        raise BenchmarkError(f"protocol {protocol.name!r} needs {row.requirement}: {row.remedy}")
    folder.mkdir(parents=True, exist_ok=True)
    before = _load(protocol, protocol.before, image_size)
    after = _load(protocol, protocol.after, image_size)
    order = np.random.default_rng(_TEST_DRAW).permutation(len(after))
    held = round(len(after) * protocol.test_share)
    test = after.validation if after.validation is not None else _part(after, order[:held])
    rest = order[held:][np.random.default_rng(seed).permutation(len(order) - held)]
    wanted = protocol.train_images or len(rest) - protocol.validation_images
    if wanted < 1 or wanted + protocol.validation_images > len(rest):
        raise BenchmarkError(f"protocol {protocol.name!r} wants more images than the {len(rest)} there are")
    validation = _part(after, rest[wanted : wanted + protocol.validation_images])
    files = folder / f"before-{image_size}.npz", folder / f"after-{image_size}-{seed}.npz"
    _write(files[0], before, None)
    _write(files[1], _part(after, rest[:wanted]), validation)
    return Parts(*files, test)


def _load(protocol: Protocol, classes: tuple[str, ...], image_size: int) -> ImageDataset:
    return load_dataset(protocol.dataset, classes=classes, channels=1, image_size=image_size)


def _part(dataset: ImageDataset, indices: npt.NDArray[np.int64]) -> ImageDataset:
    return ImageDataset(dataset.images[indices], dataset.labels[indices], dataset.classes)


def _write(path: Path, train: ImageDataset, validation: ImageDataset | None) -> None:
    arrays: dict[str, npt.NDArray[Any]] = {"x_train": train.images, "y_train": train.labels}
    if validation is not None:
        arrays |= {"x_val": validation.images, "y_val": validation.labels}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, classes=np.array(train.classes), **arrays)
