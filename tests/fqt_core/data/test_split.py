"""The split is by class, by seed, and on record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fqt_core.data import ImageDataset, split_dataset


def dataset(counts: list[int], own: ImageDataset | None = None) -> ImageDataset:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
    images = np.zeros((len(labels), 1, 2, 2), np.uint8)
    return ImageDataset(images, labels, [str(i) for i in range(len(counts))], validation=own)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.floats(0.01, 0.9), st.integers(0, 2**63 - 1))
def test_every_image_is_on_one_side_and_every_class_trains(counts: list[int], fraction: float, seed: int) -> None:
    data = dataset(counts)
    split = split_dataset(data, fraction, seed)
    assert sorted([*split.train, *split.validation]) == list(range(len(data)))
    held = np.bincount(data.labels[split.validation], minlength=len(counts))
    for count, number in zip(counts, held, strict=True):
        assert number == (0 if count == 1 else min(max(round(count * fraction), 1), count - 1))


def test_seed_decides() -> None:
    data = dataset([50, 50])
    same = [split_dataset(data, 0.2, 7).digest for _ in range(2)]
    assert same[0] == same[1]
    assert split_dataset(data, 0.2, 8).digest != same[0]


def test_split_is_the_same_for_ever() -> None:
    """A change here means that every recorded result is of another split."""
    assert split_dataset(dataset([6, 6]), 0.34, 42).validation.tolist() == [4, 5, 8, 11]


def test_own_validation_part_is_used_whole() -> None:
    split = split_dataset(dataset([5, 5], own=dataset([2, 1])), 0.5, 0)
    assert split.own
    assert len(split.train) == 10
    assert split.validation.tolist() == [0, 1, 2]


def test_no_validation() -> None:
    assert len(split_dataset(dataset([5, 5]), 0.0, 0).validation) == 0


@pytest.mark.parametrize("change", ["labels", "images", "classes", "validation"])
def test_fingerprint_sees_every_part(change: str) -> None:
    plain = dataset([2, 2], own=dataset([1, 1]))
    images, labels, classes, own = plain.images.copy(), plain.labels.copy(), list(plain.classes), dataset([1, 1])
    if change == "labels":
        labels[0] = 1
    elif change == "images":
        images[3, 0, 1, 1] = 1
    elif change == "classes":
        classes = ["0", "x"]
        own = None  # type: ignore[assignment]
    else:
        own = dataset([1, 2])
    assert ImageDataset(images, labels, classes, validation=own).fingerprint != plain.fingerprint


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 1, 2, 3), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 1, 2, 2), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 1, 2, 2), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 1, 2, 2), np.uint8), np.array([0, 5])),
    ],
)
def test_impossible_datasets_are_refused(images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        ImageDataset(images, labels, ["a", "b"])
