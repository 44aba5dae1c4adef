"""A contact sheet: one picture that shows some images of each class, for people to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from fqt_core.data.source import Source

SIDE = 48
COLUMNS = 8
ROWS = 100
_QUALITY = 80
_BACKGROUND = (255, 255, 255)


class ContactSheet:
    """One row per class, in label order, for the first :data:`ROWS` classes; up to :data:`COLUMNS` images in each.

    They are training images, spread evenly over the class, so the order of members in an archive does not matter. Each
    fits into a square of :data:`SIDE` pixels with its proportions kept.
    """

    def __init__(self, source: Source) -> None:
        labels = source.labels.get("train", np.zeros(0, np.int64))
        self.rows = min(len(source.classes), ROWS)
        self._places: dict[int, tuple[int, int]] = {}
        for row in range(self.rows):
            for column, index in enumerate(_spread(np.flatnonzero(labels == row))):
                self._places[index] = (column, row)
        self._sheet = Image.new("RGB", (COLUMNS * SIDE, max(1, self.rows) * SIDE), _BACKGROUND)

    def add(self, index: int, pixels: Image.Image) -> None:
        """Take in training image ``index`` (mode ``RGB``) if it was chosen."""
        place = self._places.get(index)
        if place is None:
            return
        width, height = pixels.size
        scale = SIDE / max(width, height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = pixels.resize(size, Image.Resampling.BICUBIC if scale < 1 else Image.Resampling.NEAREST)
        column, row = place
        self._sheet.paste(small, (column * SIDE + (SIDE - size[0]) // 2, row * SIDE + (SIDE - size[1]) // 2))

    def save(self, path: Path) -> dict[str, int]:
        """Write it as WebP; return what tells where each class is: ``rows``, ``columns`` and ``side`` in pixels."""
        self._sheet.save(path, "WEBP", quality=_QUALITY)
        return {"rows": self.rows, "columns": COLUMNS, "side": SIDE}


def _spread(members: npt.NDArray[np.int64]) -> list[int]:
    if not len(members):
        return []
    positions = np.linspace(0, len(members) - 1, min(COLUMNS, len(members))).astype(np.int64)
    return [int(index) for index in members[positions]]
