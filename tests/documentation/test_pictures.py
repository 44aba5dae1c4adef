"""The pictures of the methods: the script still draws all of them, and what the page says of them is so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from documentation.pictures import charts, gradient
from documentation.pictures.gradient import CHANNELS, SAMPLES, Layer
from fqt_core.quantizers import agp

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"


@pytest.fixture(scope="module")
def layer() -> Layer:
    return gradient.train(steps=4)


def test_every_picture_is_drawn_and_committed(layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charts, "DRAWS", 8)
    for name, chart in charts.CHARTS.items():
        chart(layer).savefig(tmp_path / name, dpi=20)
        with Image.open(tmp_path / name) as drawn:
            assert len(drawn.convert("RGB").getcolors(1 << 20) or ()) > 3
    assert {path.name for path in FOLDER.iterdir()} == set(charts.CHARTS)
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 500_000


@pytest.mark.parametrize("dim", [SAMPLES, CHANNELS])
def test_probabilities_are_those_of_the_library(layer: Layer, dim: int) -> None:
    extent = gradient.extents(layer.gradient, dim)
    count = agp.kept_count(len(extent), charts.KEEP)
    chance = gradient.probabilities(extent, count)
    assert float(chance.sum()) == pytest.approx(count)
    ranges = gradient.GroupRanges.scan(layer.gradient, dim)
    selection = agp.select(ranges.lo, ranges.hi, charts.quantizer(dim), gradient.key(0, 1))
    torch.testing.assert_close(1 / selection.factor.double(), chance[selection.index], rtol=1e-3, atol=1e-4)


def test_kinds_do_what_the_page_says_of_them(layer: Layer) -> None:
    """`systematic` keeps exactly k; `topk` stays where it is; the mean of unbiased draws comes nearer."""
    counts = {int(gradient.kept(layer.gradient, SAMPLES, charts.quantizer(SAMPLES), draw).sum()) for draw in range(20)}
    assert counts == {gradient.BATCH // charts.BITS}
    first, later = charts.distances(layer, "topk", [1, 16])
    assert first == pytest.approx(later, rel=0.1)  # codes are still drawn
    for pruning in ("bernoulli", "none"):
        first, later = charts.distances(layer, pruning, [1, 32])
        assert later < first / 2.5
