"""Which classes a network takes for which, on images that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from fqt_core.events import Confused, Confusion

MOST_MATRIX_CLASSES = 100
_MOST_PAIRS = 20


@torch.no_grad()
def confusion(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classes: Sequence[str],
    *,
    device: torch.device | str = "cpu",
    should_stop: Callable[[], bool] | None = None,
) -> Confusion | None:
    """Run ``model`` in evaluation mode over ``batches`` (float images, int64 labels); its mode is restored.

    Returns:
        ``None`` without images, or if ``should_stop`` said so in between. With more than 100 classes there is no
        matrix, only the pairs that are confused most.
    """
    pairs: list[Tensor] = []
    was_training = model.training
    model.eval()
    try:
        for images, labels in batches:
            if should_stop is not None and should_stop():
                return None
            pairs.append(labels * len(classes) + model(images.to(device)).argmax(1).cpu())
    finally:
        model.train(was_training)
    if not pairs:
        return None
    keys, counts = torch.unique(torch.cat(pairs), return_counts=True)
    entries = [
        Confused(true=key // len(classes), predicted=key % len(classes), count=count)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True)
    ]
    right, of = [0] * len(classes), [0] * len(classes)
    matrix = [[0] * len(classes) for _ in classes] if len(classes) <= MOST_MATRIX_CLASSES else None
    for entry in entries:
        of[entry.true] += entry.count
        if entry.true == entry.predicted:
            right[entry.true] += entry.count
        if matrix is not None:
            matrix[entry.true][entry.predicted] = entry.count
    wrong = sorted((entry for entry in entries if entry.true != entry.predicted), key=lambda entry: -entry.count)
    return Confusion(
        images=sum(of), classes=list(classes), right=right, of=of, matrix=matrix, most_confused=wrong[:_MOST_PAIRS]
    )
