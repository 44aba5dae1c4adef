"""What is told of the built-in data sets is what a look at all of their images finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fqt_core.config.builtin import BUILTIN_DATASETS
from fqt_core.data.builtin_profiles import describe


@pytest.mark.parametrize("name", BUILTIN_DATASETS)
def test_kept_profiles_are_true(name: str, tmp_path: Path) -> None:
    row = BUILTIN_DATASETS[name]
    describe(name, tmp_path)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == row.profile()
    # Pixels, for another release of the library that packs them may write other bytes.
    kept, found = (np.asarray(Image.open(path), np.int16) for path in (row.thumbnails, tmp_path / f"{name}.webp"))
    assert kept.shape == found.shape
    assert np.abs(kept - found).mean() < 1
    counts = [entry["count"] + entry["validation_count"] for entry in row.profile()["classes"]]
    assert sum(counts) == row.images
