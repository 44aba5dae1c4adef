"""Loss and accuracy on images that the network does not learn from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core.errors import NonFiniteLossError
from fqt_core.training.diagnosis import first_non_finite
from fqt_core.training.memory import Room
from fqt_core.training.replica import Replica
from fqt_core.training.transfer import moved

_ALONE = Replica()


class Evaluation(NamedTuple):
    """Mean cross-entropy, and the share of images classified right (0 to 1)."""

    loss: float
    accuracy: float


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    step: int = 0,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
    replica: Replica = _ALONE,
) -> Evaluation | None:
    """Run ``model`` in evaluation mode over ``batches`` (float images, int64 labels); its mode is restored.

    Where a device's memory does not hold a batch, it is gone through in parts.

    With several replicas ``batches`` are this one's share, as many as any other's and perhaps empty; the figures are
    those of all.

    Returns:
        ``None`` if ``should_stop`` said so in between.

    Raises:
        NonFiniteLossError: naming ``step`` and the layer.
        DeviceMemoryError: a single image does not fit.
    """
    was_training = model.training
    model.eval()
    total, correct, seen = 0.0, 0, 0
    room = Room()
    try:
        for images, labels in batches:
            if should_stop is not None and should_stop():
                return None
            if not len(labels):
                continue
            inputs, targets = moved(images, device), moved(labels, device)
            for part, loss, right in room.each(len(labels), partial(_judged, model, inputs, targets)):
                if not math.isfinite(loss):
                    raise NonFiniteLossError(first_non_finite(model, inputs[part]), step)
                total += loss
                correct += right
            seen += len(labels)
    finally:
        model.train(was_training)
    total, all_right, images_of_all = replica.total(total, correct, seen)
    return Evaluation(total / images_of_all, all_right / images_of_all)


def _judged(model: nn.Module, inputs: Tensor, targets: Tensor, part: slice) -> tuple[slice, float, int]:
    """The part, its summed loss, and how many of its images are classified right; one look for both."""
    logits, wanted = model(inputs[part]), targets[part]
    loss = functional.cross_entropy(logits, wanted, reduction="sum").double()
    total, right = torch.stack([loss, (logits.argmax(1) == wanted).sum().double()]).tolist()
    return part, total, round(right)
