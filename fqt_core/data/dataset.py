"""A data set in memory: decoded, resized images and their labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class ImageDataset:
    """Images of one size with a class each.

    Attributes:
        images: uint8 ``(n, channels, size, size)``, values 0 to 255.
        labels: int64 ``(n,)``, indices into ``classes``.
        classes: class names in label order.
        format: where it came from: ``folders``, ``idx``, ``npz`` or ``builtin``.
        validation: the data set's own validation part, with the same classes; ``None`` if it has none.
        warnings: what the user should know about it, in words.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    classes: list[str]
    format: str = "arrays"
    validation: ImageDataset | None = None
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8 or self.images.shape[2] != self.images.shape[3]:
            raise ValueError(
                f"images must be uint8 (n, channels, size, size), not {self.images.dtype} {self.images.shape}"
            )
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 ({len(self.images)},), not {self.labels.dtype} {self.labels.shape}")
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels must be indices of the {len(self.classes)} classes")
        if self.validation is not None and self.validation.classes != self.classes:
            raise ValueError("the validation part must have the same classes")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.images.shape[1])

    @property
    def image_size(self) -> int:
        """Side of an image in pixels."""
        return int(self.images.shape[2])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over shapes, class names, labels and pixels, the validation part included."""
        digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        digest.update(np.ascontiguousarray(self.labels).astype("<i8").tobytes())
        digest.update(np.ascontiguousarray(self.images).data)
        if self.validation is not None:
            digest.update(self.validation.fingerprint.encode())
        return digest.hexdigest()
