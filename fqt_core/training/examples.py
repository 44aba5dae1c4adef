"""A sheet of images that shows what is confused: some of each cell of the confusion matrix, for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from fqt_core.training.confusion import Verdicts

LARGEST_SIDE = 48
COLUMNS = 6
MOST_CELLS = 100
_QUALITY = 85

Cell: TypeAlias = tuple[int, int, list[int]]


def choose(verdicts: Verdicts) -> list[Cell]:
    """The cells (true class, predicted class) that are shown, each with up to ``COLUMNS`` images, by their places.

    Of a cell those that the network was surest about come first. Of many cells, those of the wrong and of the right
    with the most images, half of each as far as there are so many.
    """
    labels, predicted, certainty = (part.numpy() for part in (verdicts.labels, verdicts.predicted, verdicts.certainty))
    order = np.lexsort((-certainty, predicted, labels))  # stable: equal ones in the order of the images
    pairs = np.stack([labels, predicted], 1)[order]
    starts = np.flatnonzero(np.append(True, (pairs[1:] != pairs[:-1]).any(1)))
    counts = np.diff(np.append(starts, len(order)))
    cells = [(int(pairs[at, 0]), int(pairs[at, 1]), int(at), int(n)) for at, n in zip(starts, counts, strict=True)]
    by_size = sorted(cells, key=lambda cell: -cell[3])
    wrong = [cell for cell in by_size if cell[0] != cell[1]]
    right = [cell for cell in by_size if cell[0] == cell[1]]
    kept = wrong[: max(MOST_CELLS // 2, MOST_CELLS - len(right))]
    kept += right[: MOST_CELLS - len(kept)]
    return [
        (true, found, [int(place) for place in order[at : at + min(n, COLUMNS)]]) for true, found, at, n in sorted(kept)
    ]


def save_examples(
    path: Path, verdicts: Verdicts, pixels: Callable[[list[int]], npt.NDArray[np.uint8]]
) -> dict[str, Any]:
    """Write the sheet as WebP: row i shows cell i, from the left. Grey images are kept as they are, to the bit.

    Args:
        path: the file.
        verdicts: of the images, at least one.
        pixels: gives images by their places among the verdicts, uint8 (n, c, s, s) with c of 1 or 3.

    Returns:
        What tells where each image is: ``side`` of a square in pixels, ``columns``, and ``cells``, each a list of true
        class, predicted class and how many are shown.
    """
    cells = choose(verdicts)
    rows = [[_tile(image) for image in pixels(places)] for _, _, places in cells]
    first = rows[0][0]
    side = first.width
    sheet = Image.new(first.mode, (COLUMNS * side, len(rows) * side))
    for row, tiles in enumerate(rows):
        for column, tile in enumerate(tiles):
            sheet.paste(tile, (column * side, row * side))
    sheet.save(path, "WEBP", lossless=first.mode == "L", quality=_QUALITY)
    return {
        "side": side,
        "columns": COLUMNS,
        "cells": [[true, predicted, len(places)] for true, predicted, places in cells],
    }


def _tile(image: npt.NDArray[np.uint8]) -> Image.Image:
    tile = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    if tile.width <= LARGEST_SIDE:
        return tile
    return tile.resize((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BICUBIC)
