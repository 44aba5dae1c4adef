"""Halves the resolution of float rows by averaging."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fqt_core.ops.memory import new_tensor


def halve(x: Tensor) -> Tensor:
    """Average of each 2x2 window, stride 2, an odd side rounded up: float (H, W, N, C). Autograd cannot follow it."""
    height, width, samples, channels = x.shape
    # Seen as one image whose channels are samples and channels, it is channels-last already.
    image = x.reshape(1, height, width, samples * channels).permute(0, 3, 1, 2)
    result = new_tensor(x, (-(-height // 2), -(-width // 2), samples, channels))
    pooled = result.view(1, *result.shape[:2], samples * channels).permute(0, 3, 1, 2)
    torch.ops.aten.avg_pool2d(image, 2, 2, ceil_mode=True, out=pooled)
    return result


def halve_backward(gradient: Tensor, size: Sequence[int]) -> Tensor:
    """The gradient of :func:`halve`'s input of H, W = ``size``: float (H, W, N, C).

    Each pixel of a window gets an equal share; the windows of an odd last line are smaller. ``gradient`` is
    overwritten.
    """
    height, width = size
    counts = [gradient.new_full((-(-side // 2),), 2.0) for side in (height, width)]
    for count, side in zip(counts, (height, width), strict=True):
        count[-1] -= side % 2
    gradient.div_(counts[0].view(-1, 1, 1, 1) * counts[1].view(-1, 1, 1))
    result = new_tensor(gradient, (height, width, *gradient.shape[2:]))
    for line in range(2):
        for column in range(2):
            part = result[line::2, column::2]
            part.copy_(gradient[: part.shape[0], : part.shape[1]])
    return result
