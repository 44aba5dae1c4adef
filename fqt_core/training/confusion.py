"""Which classes a network takes for which, on images that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fqt_core.events import Confusion
from fqt_core.training.memory import Room
from fqt_core.training.transfer import moved


@dataclass(frozen=True)
class Verdicts:
    """What a network takes each image for. All are shape (n,), in the order of the images.

    Attributes:
        labels: the true classes, int64.
        predicted: the most probable ones, int64.
        certainty: their probabilities, float32.
    """

    labels: Tensor
    predicted: Tensor
    certainty: Tensor


@torch.no_grad()
def judge(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
) -> Verdicts | None:
    """Run ``model`` in evaluation mode over ``batches`` (float images, int64 labels); its mode is restored.

    Returns:
        ``None`` without images, or if ``should_stop`` said so in between.
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    was_training = model.training
    room = Room()
    model.eval()
    try:
        for images, labels in batches:
            if should_stop is not None and should_stop():
                return None
            inputs = moved(images, device)
            verdicts = room.each(len(labels), partial(_verdicts, model, inputs))
            found += [(labels[part], predicted, certainty) for part, predicted, certainty in verdicts]
    finally:
        model.train(was_training)
    return Verdicts(*(torch.cat(parts) for parts in zip(*found, strict=True))) if found else None


def _verdicts(model: nn.Module, inputs: Tensor, part: slice) -> tuple[slice, Tensor, Tensor]:
    """The part, and of its images the predicted classes and how certain they are."""
    logits = model(inputs[part]).float()
    predicted = logits.argmax(1, keepdim=True)
    certainty = torch.softmax(logits, 1).gather(1, predicted)
    return part, predicted[:, 0].cpu(), certainty[:, 0].cpu()


def confusion(verdicts: Verdicts, classes: Sequence[str]) -> Confusion:
    """Count verdicts. With more than 100 classes there is no matrix, only the pairs that are confused most."""
    pairs = verdicts.labels * len(classes) + verdicts.predicted
    keys, counts = torch.unique(pairs, return_counts=True)
    size = len(classes)
    return Confusion.counted(
        {(key // size, key % size): count for key, count in zip(keys.tolist(), counts.tolist(), strict=True)}, classes
    )
