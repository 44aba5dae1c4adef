"""The convolution and the max-pool before a chain: of the output, only what the pool chose is kept, with its places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core.fused.convolution import Pair, convolve, output_size, slices
from fqt_core.fused.entry import EntryRecord


@dataclass(frozen=True)
class PooledRecord:
    """What backward needs with a pool. ``places``: which pixel each value is from, int16 or int32 (N, H, W, C)."""

    images: Tensor
    places: Tensor
    entry: EntryRecord


def pool_in_slices(conv: nn.Conv2d, pool: nn.MaxPool2d, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the pool chose, float32 (N, H', W', D), and where it stood in the convolution's output."""
    x, places = torch.empty(0), torch.empty(0)
    for part in slices(conv, images):
        full = convolve(conv, images[part])
        best, index = functional.max_pool2d(
            full, pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, return_indices=True
        )
        if part.start == 0:
            size = (len(images), *best.shape[2:], best.shape[1])
            narrow = full.shape[2] * full.shape[3] <= torch.iinfo(torch.int16).max
            x, places = best.new_empty(size), index.new_empty(size, dtype=torch.int16 if narrow else torch.int32)
        x[part].copy_(best.permute(0, 2, 3, 1))
        places[part].copy_(index.permute(0, 2, 3, 1))
        del full, best, index  # before the next slice's come
    return x, places


def pooled_gradients(
    conv: nn.Conv2d, pool: nn.MaxPool2d, images: Tensor, places: Tensor, g: Tensor
) -> tuple[Tensor, Tensor]:
    """dL/dW and dL/dbias from the gradient of the pool's output, float32 (N, H', W', D)."""
    weight, bias = torch.zeros_like(conv.weight), conv.weight.new_zeros(conv.out_channels)
    for part in slices(conv, images):
        some = images[part].contiguous(memory_format=torch.channels_last)
        full = _unpool(conv, pool, some, g[part], places[part])
        weight += torch.nn.grad.conv2d_weight(  # type: ignore[no-untyped-call]
            some, conv.weight.shape, full, conv.stride, conv.padding, conv.dilation, conv.groups
        )
        if conv.bias is not None:
            bias += full.sum((0, 2, 3))
        del full  # before the next slice's comes
    return weight, bias


def _unpool(conv: nn.Conv2d, pool: nn.MaxPool2d, images: Tensor, g: Tensor, places: Tensor) -> Tensor:
    """The gradient at the convolution's output, float32 (N, D, H, W), from that at the pool's."""
    height, width = output_size(conv, images)
    # Of this argument torch takes the shape alone.
    like = g.new_empty((len(g), height, width, g.shape[3])).permute(0, 3, 1, 2)
    result: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
        g.permute(0, 3, 1, 2),
        like,
        _pair(pool.kernel_size),
        _pair(pool.stride),
        _pair(pool.padding),
        _pair(pool.dilation),
        pool.ceil_mode,
        places.permute(0, 3, 1, 2).to(torch.int64),
    )
    return result


def _pair(sides: int | Pair) -> Pair:
    return (sides, sides) if isinstance(sides, int) else sides
