"""Halves the resolution of float rows by averaging, and keeps nothing of them for backward."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


class _Halve(torch.autograd.Function):
    """torch's own average pool saves its input, of which its gradient needs the shape alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """float (H, W, N, C) to float (ceil(H / 2), ceil(W / 2), N, C)."""
        ctx.size = x.shape[:2]
        height, width, samples, channels = x.shape
        # Seen as one image whose channels are samples and channels, it is channels-last already.
        image = x.reshape(1, height, width, samples * channels).permute(0, 3, 1, 2)
        pooled = functional.avg_pool2d(image, 2, 2, ceil_mode=True).permute(0, 2, 3, 1)
        return pooled.reshape(*pooled.shape[1:3], samples, channels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Each pixel of a window gets an equal share; the windows of an odd last line are smaller."""
        height, width = ctx.size
        counts = [torch.full((-(-size // 2),), 2.0) for size in (height, width)]
        for count, size in zip(counts, (height, width), strict=True):
            count[-1] -= size % 2
        shares = gradient / (counts[0].view(-1, 1, 1, 1) * counts[1].view(-1, 1, 1))
        result = gradient.new_empty((height, width, *gradient.shape[2:]))
        for line in range(2):
            for column in range(2):
                part = result[line::2, column::2]
                part.copy_(shares[: part.shape[0], : part.shape[1]])
        return result


def halve(x: Tensor) -> Tensor:
    """Average of each 2x2 window, stride 2, an odd side rounded up: float (H, W, N, C) on the CPU."""
    return cast("Tensor", _Halve.apply(x))  # type: ignore[no-untyped-call]
