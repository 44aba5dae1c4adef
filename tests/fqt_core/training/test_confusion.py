"""Confusions are counted as they are, with few classes and with many."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fqt_core.events import MOST_MATRIX_CLASSES, Confusion
from fqt_core.training.confusion import confusion, judge


class _Shift(nn.Module):
    """Says of class n that it is the next one, unless n is even."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        label = images[:, 0, 0, 0].long()
        return nn.functional.one_hot((label + label % 2) % self.classes, self.classes).float()


def _batches(labels: list[int], size: int = 4) -> list[tuple[Tensor, Tensor]]:
    every = torch.tensor(labels)
    return [(part.view(-1, 1, 1, 1).float(), part) for part in every.split(size)]


def _found(model: _Shift, labels: list[int]) -> Confusion:
    verdicts = judge(model, _batches(labels))
    assert verdicts is not None
    return confusion(verdicts, [str(n) for n in range(model.classes)])


def test_rows_are_the_true_classes() -> None:
    model = _Shift(3).train()
    found = _found(model, [0, 0, 1, 1, 1, 2])
    assert found.matrix == [[2, 0, 0], [0, 0, 3], [0, 0, 1]]
    assert (found.images, found.right, found.of) == (6, [2, 0, 1], [2, 3, 1])
    assert [(pair.true, pair.predicted, pair.count) for pair in found.most_confused] == [(1, 2, 3)]
    assert model.training


def test_many_classes_have_no_matrix() -> None:
    found = _found(_Shift(MOST_MATRIX_CLASSES + 1), [1, 1, 7])
    assert found.matrix is None
    assert [(pair.true, pair.count) for pair in found.most_confused] == [(1, 2), (7, 1)]


def test_nothing_is_told_of_no_images_or_when_it_is_stopped() -> None:
    assert judge(_Shift(2), []) is None
    assert judge(_Shift(2), _batches([0]), should_stop=lambda: True) is None


def test_the_certainty_is_that_of_the_class_that_is_named() -> None:
    verdicts = judge(_Shift(2), _batches([0, 1]))
    assert verdicts is not None
    assert verdicts.predicted.tolist() == [0, 0]
    assert torch.allclose(verdicts.certainty, torch.tensor([1.0, 0.0]).softmax(0)[0])
