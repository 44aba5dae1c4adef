"""Batches are a function of seed, epoch and number; augmentation does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fqt_core.config import AugmentConfig, TrainConfig
from fqt_core.data import ImageDataset
from fqt_core.data.batches import Preprocessing, TrainingData, augment, fit_preprocessing
from fqt_core.errors import ConfigurationError


def numbered(count: int, size: int = 6, channels: int = 1) -> ImageDataset:
    """Image i is filled with the value i."""
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, channels, size, size))
    return ImageDataset(images.copy(), (np.arange(count) % 2).astype(np.int64), ["even", "odd"])


def config(**options: object) -> TrainConfig:
    plain = {"batch_size": 8, "validation_fraction": 0.2, "augment": AugmentConfig(normalize=False)}
    return TrainConfig(**{**plain, **options})  # type: ignore[arg-type]


def numbers(images: torch.Tensor) -> list[int]:
    return (images[:, 0, 3, 3] * 255).round().int().tolist()


def test_an_epoch_shows_each_training_image_once_in_an_order_of_its_own() -> None:
    data = TrainingData(numbered(50), config())
    orders = []
    for epoch in range(2):
        shown = []
        for index in range(data.steps_per_epoch):
            images, labels = data.train_batch(epoch, index)
            assert labels.tolist() == [number % 2 for number in numbers(images)]
            shown += numbers(images)
        assert sorted(shown) == data.split.train.tolist()
        orders.append(shown)
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_batches_need_no_history_and_no_global_state() -> None:
    wanted = config(augment=AugmentConfig(pad_crop=2, horizontal_flip=True))
    first = TrainingData(numbered(50), wanted)
    for index in range(first.steps_per_epoch):
        first.train_batch(0, index)
    expected = first.train_batch(3, 2)[0]
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = TrainingData(numbered(50), wanted).train_batch(3, 2)[0]
    assert torch.equal(again, expected)
    assert torch.equal(torch.get_rng_state(), before)
    other = TrainingData(numbered(50), wanted.model_copy(update={"seed": 1})).train_batch(3, 2)[0]
    assert not torch.equal(other, expected)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(16, 8, [8, 8]), (20, 8, [8, 8, 4]), (17, 8, [8, 9]), (5, 8, [5]), (1, 8, [1]), (3, 1, [1, 1, 1]), (9, 8, [9])],
)
def test_last_batch_of_one_image_is_merged(count: int, size: int, expected: list[int]) -> None:
    data = TrainingData(numbered(count), config(batch_size=size, validation_fraction=0))
    assert [len(data.train_batch(0, index)[1]) for index in range(data.steps_per_epoch)] == expected


def test_validation_batches_hold_the_rest_in_order() -> None:
    data = TrainingData(numbered(50), config())
    batches = list(data.validation_batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert [number for images, _ in batches for number in numbers(images)] == data.split.validation.tolist()


def test_mean_and_deviation_are_of_the_training_images_only() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 3, 4, 4), dtype=np.uint8)
    chosen = np.arange(0, 40, 2)
    fitted = fit_preprocessing(images, chosen, normalize=True)
    assert np.allclose(fitted.mean, images[chosen].mean((0, 2, 3)) / 255)
    assert np.allclose(fitted.std, images[chosen].std((0, 2, 3)) / 255)
    ready = fitted.normalize(images[chosen])
    assert torch.equal(fitted(torch.from_numpy(images[chosen])), torch.from_numpy(ready))
    assert ready.dtype == np.float32
    assert np.allclose(ready.mean((0, 2, 3)), 0, atol=1e-5)
    assert np.allclose(ready.std((0, 2, 3)), 1, atol=1e-5)
    assert Preprocessing.from_json(fitted.to_json()) == fitted


def test_constant_images_are_not_divided_by_zero() -> None:
    fitted = fit_preprocessing(np.full((4, 1, 2, 2), 51, np.uint8), np.arange(4), normalize=True)
    assert fitted.mean == (0.2,)
    assert fitted.std == (1.0,)


def words(vertical: int, horizontal: int, flip: int, pad: int) -> np.ndarray:
    """Random words that choose these offsets."""

    def word(offset: int) -> int:
        return -(-(offset << 32) // (2 * pad + 1)) << 32

    return np.array([[word(vertical), word(horizontal), flip << 63]], dtype=np.uint64)


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(("vertical", "horizontal"), [(0, 0), (2, 2), (4, 1), (1, 4)])
def test_crop_and_flip_by_hand(vertical: int, horizontal: int, flip: int) -> None:
    image = np.arange(1, 51, dtype=np.uint8).reshape(1, 2, 5, 5)
    result = augment(image, words(vertical, horizontal, flip, 2), AugmentConfig(pad_crop=2, horizontal_flip=True))
    padded = np.zeros((1, 2, 9, 9), dtype=np.uint8)
    padded[:, :, 2:7, 2:7] = image
    expected = padded[:, :, vertical : vertical + 5, horizontal : horizontal + 5]
    assert np.array_equal(result, expected[..., ::-1] if flip else expected)


def test_each_image_gets_its_own_augmentation() -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 2**64, (2000, 3), dtype=np.uint64)
    image = np.broadcast_to(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4), (2000, 1, 4, 4))
    result = augment(image, raw, AugmentConfig(pad_crop=1, horizontal_flip=True))
    kinds = {tuple(row) for row in result.reshape(2000, 16).tolist()}
    assert len(kinds) == 18  # 3 x 3 offsets, flipped or not


def test_validation_images_are_not_augmented() -> None:
    wanted = config(augment=AugmentConfig(pad_crop=3, horizontal_flip=True, normalize=False))
    data = TrainingData(numbered(50), wanted)
    images, _ = next(data.validation_batches(10))
    assert torch.equal(images, images[:, :, :1, :1].expand_as(images))


def test_impossible_options_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"training\.augment\.pad_crop"):
        TrainingData(numbered(10), config(augment=AugmentConfig(pad_crop=6)))
    with pytest.raises(ConfigurationError, match="no images to train on"):
        TrainingData(numbered(0), config())
