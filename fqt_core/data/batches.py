"""Training and validation batches as tensors: order and augmentation are functions of (seed, epoch, image) alone.

Nothing here keeps a random state, so a run resumes in the middle of an epoch by asking for the next batch number.
Pixels are handled with NumPy on one thread: they are few, and waking torch's threads for each small operation costs
more than the operation.

A last batch of a single image is merged into the batch before it: batch normalisation has no variance over one image
(a feature map of one pixel), and dropping it would never show some image to the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fqt_core.config import AugmentConfig, TrainConfig
from fqt_core.config.parallel import least_batch
from fqt_core.data.counters import Purpose, below, permutation, words
from fqt_core.data.dataset import ImageDataset
from fqt_core.data.split import Split, split_dataset
from fqt_core.errors import ConfigurationError

Pixels: TypeAlias = npt.NDArray[np.uint8]

_STATISTICS_CHUNK = 4096


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the network's input: ``(pixel / 255 - mean) / std`` per channel.

    ``mean`` and ``std`` have one value per channel, on the scale 0 to 1.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """A record for model files; :meth:`from_json` reads it back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Preprocessing:
        """Read :meth:`to_json`'s record."""
        return cls(int(record["image_size"]), int(record["channels"]), tuple(record["mean"]), tuple(record["std"]))

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 ``(n, c, h, w)`` to float32 of the same shape, on the same device."""
        return torch.from_numpy(self.normalize(images.cpu().numpy())).to(images.device)

    def normalize(self, images: Pixels) -> npt.NDArray[np.float32]:
        """The same for arrays: the very values that training sees."""
        view = (1, self.channels, 1, 1)
        result = images.astype(np.float32)
        result /= np.float32(255)
        result -= np.array(self.mean, np.float32).reshape(view)
        result /= np.array(self.std, np.float32).reshape(view)
        return result


def fit_preprocessing(images: Pixels, indices: npt.NDArray[np.int64], normalize: bool) -> Preprocessing:
    """The preprocessing of a run: mean and deviation of the training images, exact from counts of pixel values.

    Without ``normalize`` pixels are only divided by 255. A constant channel has deviation 1.
    """
    channels, size = images.shape[1], images.shape[2]
    if not normalize:
        return Preprocessing(size, channels, (0.0,) * channels, (1.0,) * channels)
    counts = np.zeros((channels, 256), dtype=np.int64)
    for start in range(0, len(indices), _STATISTICS_CHUNK):
        chunk = images[indices[start : start + _STATISTICS_CHUNK]]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[:, channel].reshape(-1), minlength=256)
    means, deviations = [], []
    for row in counts.tolist():
        number = sum(row)
        total = sum(value * count for value, count in enumerate(row))
        squares = sum(value * value * count for value, count in enumerate(row))
        variance = (number * squares - total * total) / (number * number)
        means.append(total / number / 255.0)
        deviations.append(variance**0.5 / 255.0 if variance > 0 else 1.0)
    return Preprocessing(size, channels, tuple(means), tuple(deviations))


def augment(images: Pixels, raw: npt.NDArray[np.uint64], config: AugmentConfig) -> Pixels:
    """Crop and flip a batch.

    Args:
        images: uint8 ``(n, c, s, s)``.
        raw: random words ``(n, 3)``: vertical offset, horizontal offset, flip.
        config: what to do. Padding is black (0), as it is before normalisation.

    Returns:
        uint8 of the same shape.
    """
    pad, size = config.pad_crop, images.shape[2]
    result = images
    if pad:
        padded = np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        result = np.empty_like(images)
        for index, (top, left) in enumerate(below(raw[:, :2], 2 * pad + 1).tolist()):
            result[index] = padded[index, :, top : top + size, left : left + size]
    if config.horizontal_flip:
        flipped = (raw[:, 2] >> np.uint64(63)).astype(np.bool_)
        result = np.where(flipped[:, None, None, None], result[..., ::-1], result)
    return result


class TrainingData:
    """A data set, split and ready to be asked for batches.

    Attributes:
        split: which images train and which validate.
        preprocessing: fitted to the training images.
        classes: class names in label order.
    """

    def __init__(self, dataset: ImageDataset, config: TrainConfig, rank: int = 0, processes: int = 1) -> None:
        """Split ``dataset`` as ``config`` says.

        ``rank``: of ``processes`` that train together, which one this is. Batches are theirs together: each one gets
        its share of the images.

        Raises:
            ConfigurationError: no image is left for training, or fewer than it takes; or the crop's padding is larger
                than the image.
        """
        self.dataset = dataset
        self.classes = dataset.classes
        self.split: Split = split_dataset(dataset, config.validation_fraction, config.seed)
        if not len(self.split.train):
            raise ConfigurationError("there are no images to train on")
        least = least_batch(config.batch_size, processes)
        if processes > 1 and min(len(self.split.train), config.batch_size // config.accumulate) < processes:
            raise ConfigurationError(
                f"parallel.processes: {processes} processes need a micro-batch of at least as many images "
                f"(training.batch_size {config.batch_size}, training.accumulate {config.accumulate}, "
                f"{len(self.split.train)} training images)"
            )
        self._rank, self._processes = rank, processes
        if config.augment.pad_crop >= dataset.image_size:
            raise ConfigurationError(
                f"training.augment.pad_crop: {config.augment.pad_crop} pixels of padding are too much for images of "
                f"{dataset.image_size} pixels"
            )
        self.preprocessing = fit_preprocessing(dataset.images, self.split.train, config.augment.normalize)
        self._config = config
        self._bounds = _batch_bounds(len(self.split.train), config.batch_size, least)
        held = dataset.validation if dataset.validation is not None else dataset
        self._held = held
        self._order = lru_cache(maxsize=1)(self._draw_order)

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch."""
        return len(self._bounds)

    @property
    def train_images(self) -> int:
        """Images per epoch."""
        return len(self.split.train)

    @property
    def validation_images(self) -> int:
        """Images set aside, 0 if none."""
        return len(self.split.validation)

    def batch_images(self, index: int) -> int:
        """Images of batch ``index`` (from 0), over all processes."""
        start, end = self._bounds[index]
        return end - start

    def micro_batches(self, index: int, config: TrainConfig) -> int:
        """How many micro-batches of ``config`` each process has in its share of batch ``index``: equally many."""
        images = self.batch_images(index)
        count = config.micro_batches(images)
        share = images // self._processes
        full = config.batch_size // self._processes
        return min(count, share if full < 2 * config.accumulate else max(1, share // 2))

    def train_batch(self, epoch: int, index: int) -> tuple[Tensor, Tensor]:
        """This process's share of batch ``index`` (from 0) of ``epoch`` (from 0).

        Returns:
            float32 ``(n, c, s, s)``, augmented and preprocessed, and int64 labels ``(n,)``.
        """
        order, raw = self._order(epoch)
        chosen = order[slice(*self._bounds[index])][self._rank :: self._processes]
        positions = self.split.train[chosen]
        images = augment(self.dataset.images[positions], raw[chosen], self._config.augment)
        return self._tensors(images, self.dataset.labels[positions])

    def validation_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """All validation images in order, preprocessed, in batches of ``size``; as :meth:`train_batch` returns them."""
        for start in range(0, self.validation_images, size):
            yield self._held_batch(start, size)

    def validation_share(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's share of :meth:`validation_batches`: as many as any other's, the last one perhaps empty."""
        for start in range(0, self.validation_images, size * self._processes):
            yield self._held_batch(start + self._rank * size, size)

    def _held_batch(self, start: int, size: int) -> tuple[Tensor, Tensor]:
        positions = self.split.validation[start : start + size]
        return self._tensors(self._held.images[positions], self._held.labels[positions])

    def validation_pixels(self, places: Sequence[int]) -> Pixels:
        """Validation images as they are, by their places in the order of :meth:`validation_batches`: (n, c, s, s)."""
        return self._held.images[self.split.validation[np.asarray(places, np.int64)]]

    def _tensors(self, images: Pixels, labels: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.preprocessing.normalize(images)), torch.from_numpy(labels)

    def _draw_order(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
        number, seed = self.train_images, self._config.seed
        raw = words(seed, Purpose.AUGMENT, epoch, 3 * number).reshape(number, 3)
        return permutation(seed, Purpose.ORDER, epoch, number), raw


def _batch_bounds(images: int, size: int, least: int) -> list[tuple[int, int]]:
    bounds = [(start, min(start + size, images)) for start in range(0, images, size)]
    if len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] < least:
        bounds[-2:] = [(bounds[-2][0], images)]
    return bounds
