"""Sets images aside for validation: per class, by seed, and on record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fqt_core.data.counters import Purpose, permutation
from fqt_core.data.dataset import ImageDataset

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Which images train and which validate.

    Attributes:
        train: int64, sorted indices into the data set.
        validation: int64, sorted indices into the data set, or into its own validation part if ``own``.
        own: whether the data set's own validation part is used.
        seed: what it was drawn with.
    """

    train: Indices
    validation: Indices
    own: bool
    seed: int

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over both lists: equal digests, equal split."""
        digest = hashlib.sha256(b"own" if self.own else b"drawn")
        for part in (self.train, self.validation):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part.astype("<i8").tobytes())
        return digest.hexdigest()


def split_dataset(dataset: ImageDataset, fraction: float, seed: int) -> Split:
    """Split ``dataset`` into training and validation images.

    A data set with its own validation part is used as it is. Otherwise ``fraction`` of each class is set aside
    (rounded; at least one image if the class has two or more, and never all of them). ``fraction=0`` sets none aside.
    """
    everything = np.arange(len(dataset), dtype=np.int64)
    if dataset.validation is not None:
        return Split(everything, np.arange(len(dataset.validation), dtype=np.int64), own=True, seed=seed)
    held = held_out(dataset.labels, len(dataset.classes), fraction, seed)
    return Split(everything[~held], everything[held], own=False, seed=seed)


def held_out(labels: npt.NDArray[np.int64], classes: int, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of the examples with these labels (int64, (n,)) are set aside, of each class by itself."""
    held = np.zeros(len(labels), dtype=np.bool_)
    if fraction > 0:
        for label in range(classes):
            members = np.flatnonzero(labels == label)
            count = min(max(round(len(members) * fraction), 1), len(members) - 1)
            if count > 0:
                held[members[permutation(seed, Purpose.SPLIT, label, len(members))[:count]]] = True
    return held
