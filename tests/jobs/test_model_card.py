"""The picture of a model's card, for whatever a job has reported."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from jobs import model_card


@pytest.mark.parametrize(
    ("steps", "values", "circles"),
    [([4, 8], [0.5, 0.9], 4), ([], [], 2), ([4, 8], [None, None], 2), ([8], [0.5], 3)],
)
def test_curves_may_be_short_or_empty(steps: list[int], values: list[float | None], circles: int) -> None:
    """Without validation images there is a curve of validation without a value."""
    curves = [
        {"name": "train_loss", "steps": [4, 8], "values": [2.0, 1.0]},
        {"name": "validation_loss", "steps": steps, "values": values},
    ]
    picture = ElementTree.fromstring(model_card.svg(curves))
    assert len(picture.findall(".//{http://www.w3.org/2000/svg}circle")) == circles


def test_no_curves_are_an_empty_picture() -> None:
    assert model_card.svg([]).count("<circle") == 0
