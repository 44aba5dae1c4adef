"""The full-precision convolution before a chain, as torch runs it: for some samples at a time, for it makes much."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn

from fqt_core.fused.slices import sample_slices
from fqt_core.ops.geometry import output_sizes

Pair: TypeAlias = tuple[int, ...]


def convolve(conv: nn.Conv2d, images: Tensor) -> Tensor:
    """float32 (N, C, H, W) to (N, D, H', W'), channels last in memory."""
    result: Tensor = conv(images.contiguous(memory_format=torch.channels_last))
    return result


def slices(conv: nn.Conv2d, images: Tensor) -> Iterator[slice]:
    """Samples by the size of the convolution's output."""
    pixels = images.shape[2] * images.shape[3] // (conv.stride[0] * conv.stride[1])
    return sample_slices(len(images), 4 * pixels * conv.out_channels, is_cpu=images.is_cpu)


def geometry(conv: nn.Conv2d) -> tuple[Pair, Pair, Pair, Pair]:
    """Kernel, stride, padding, dilation."""
    assert not isinstance(conv.padding, str)
    return conv.kernel_size, conv.stride, conv.padding, conv.dilation


def output_size(conv: nn.Conv2d, images: Tensor) -> tuple[int, int]:
    """H', W' of the convolution."""
    return output_sizes(images.shape[2:], *geometry(conv))


def row_count(conv: nn.Conv2d, images: Tensor) -> int:
    """Outputs of the convolution, over all images."""
    return len(images) * math.prod(output_size(conv, images))
