"""The sheet shows images of the cells that it names, the surest first, and of very many cells some of each sort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fqt_core.training.confusion import Verdicts
from fqt_core.training.examples import COLUMNS, LARGEST_SIDE, MOST_CELLS, choose, save_examples


def _verdicts(rows: list[tuple[int, int, float]]) -> Verdicts:
    labels, predicted, certainty = zip(*rows, strict=True)
    return Verdicts(torch.tensor(labels), torch.tensor(predicted), torch.tensor(certainty))


def test_the_surest_of_each_cell_come_first() -> None:
    found = choose(_verdicts([(1, 0, 0.5), (0, 0, 0.6), (1, 0, 0.9), (0, 0, 0.6), (1, 1, 0.7)]))
    assert found == [(0, 0, [1, 3]), (1, 0, [2, 0]), (1, 1, [4])]
    many = choose(_verdicts([(0, 0, n / 100) for n in range(50)]))
    assert many == [(0, 0, [49 - n for n in range(COLUMNS)])]


def test_of_very_many_cells_half_are_confusions() -> None:
    rows = [(n, n, 0.5) for n in range(90)] + [(n, n + 1, 0.5) for n in range(90)] + [(3, 9, 0.5)] * 2
    cells = choose(_verdicts(rows))
    assert len(cells) == MOST_CELLS
    assert sum(true != predicted for true, predicted, _ in cells) == MOST_CELLS // 2
    assert (3, 9, [180, 181]) in cells
    few = choose(_verdicts([(n, n, 0.5) for n in range(150)] + [(0, 1, 0.5)]))
    assert len(few) == MOST_CELLS
    assert (0, 1, [150]) in few


def test_grey_images_are_kept_to_the_bit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
    verdicts = _verdicts([(0, 0, 0.5), (0, 1, 0.5), (0, 0, 0.9)])
    layout = save_examples(tmp_path / "sheet.webp", verdicts, lambda places: pixels[places])
    assert layout == {"side": 8, "columns": COLUMNS, "cells": [[0, 0, 2], [0, 1, 1]]}
    with Image.open(tmp_path / "sheet.webp") as sheet:
        assert sheet.size == (8 * COLUMNS, 16)
        shown = np.asarray(sheet.convert("L"))
    for place, (row, column) in {2: (0, 0), 0: (0, 1), 1: (1, 0)}.items():
        assert (shown[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] == pixels[place, 0]).all()


def test_large_photos_become_small(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 100, 100), np.uint8) + np.array([200, 20, 20], np.uint8).reshape(1, 3, 1, 1)
    layout = save_examples(tmp_path / "sheet.webp", _verdicts([(0, 0, 1.0)]), lambda places: pixels[places])
    assert layout["side"] == LARGEST_SIDE
    with Image.open(tmp_path / "sheet.webp") as sheet:
        assert np.abs(np.asarray(sheet, np.int64)[8:40, 8:40] - [200, 20, 20]).max() < 8
