"""The full-precision convolution before a chain, run so that little of it has to stay for backward.

Its output is the largest tensor of a network. Without a pool, backward does without it (:mod:`fqt_core.fused.linear`);
before a pool, the convolution runs for some samples at a time, and only what the pool chose is kept, with its places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fqt_core import ops
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused.block import Stem
from fqt_core.fused.entry import EntryRecord, enter, enter_some, leave, room_for
from fqt_core.fused.forward import Activation
from fqt_core.fused.linear import LinearMap
from fqt_core.fused.normalization import Normalization
from fqt_core.fused.rows import PendingRows, RowGradient
from fqt_core.fused.slices import sample_slices
from fqt_core.ops import waiting
from fqt_core.ops.geometry import output_sizes
from fqt_core.ops.patches import image_patches


@dataclass(frozen=True)
class LinearRecord:
    """What backward needs without a pool. ``origin``: float32 (C,), what was taken from the images' channels."""

    images: Tensor
    origin: Tensor
    map: LinearMap
    norm: Normalization


@dataclass(frozen=True)
class PooledRecord:
    """What backward needs with a pool. ``places``: which pixel each value is from, int16 or int32 (N, H, W, C)."""

    images: Tensor
    places: Tensor
    entry: EntryRecord


StemRecord = LinearRecord | PooledRecord


def enter_stem(stem: Stem, norm: nn.BatchNorm2d, images: Tensor, *, keep: bool) -> tuple[Activation, StemRecord]:
    """Bits of float32 images (N, C, H, W) after convolution, pool and ``norm``; ``keep``: the floats as well."""
    if stem.pool is not None:
        x, places = _pool_in_slices(stem.conv, stem.pool, images)
        activation, entry = enter(x, norm, keep=keep)
        return activation, PooledRecord(images, places, entry)
    origin = images.mean((0, 2, 3))
    moments = _second_moments(stem.conv, images, origin, whole=norm.training)
    linear = LinearMap(_shifted_weight(stem.conv, origin), moments, _row_count(stem.conv, images))
    constants = linear.normalize(norm)
    return _enter_in_slices(stem.conv, constants, images, keep=keep), LinearRecord(images, origin, linear, constants)


def leave_stem(
    stem: Stem,
    norm: nn.BatchNorm2d,
    record: StemRecord,
    g: RowGradient | PendingRows,
    found: dict[Tensor, Tensor],
    *,
    step: int,
) -> None:
    """The gradients of the parameters of ``stem`` and ``norm`` go into ``found``; without a pool, ``g`` comes in parts.

    Raises:
        NonFiniteGradientError: the gradient holds an infinity or NaN.
    """
    conv = stem.conv
    if isinstance(record, PooledRecord):
        assert stem.pool is not None
        weight, bias = _pooled_gradients(
            conv, stem.pool, record, leave(record.entry, norm, g.whole(), found, step=step)
        )
    else:
        products = _products(conv, record, g)
        if waiting.at_once(products) and not bool(torch.isfinite(products).all()):
            raise NonFiniteGradientError("the normalisation before the first binarised layer", step)
        gradient, whole = record.map.gradient(record.norm, products)
        bias = whole[:, -1]
        weight = whole[:, :-1] + bias.unsqueeze(1) * _per_input(conv, record.origin)
        weight, bias = weight.to(torch.float32).view_as(conv.weight), bias.to(torch.float32)
        found |= {norm.weight: gradient.weight, norm.bias: gradient.shift}
    found[conv.weight] = weight
    if conv.bias is not None:
        found[conv.bias] = bias


def run_stem(stem: Stem, images: Tensor) -> Tensor:
    """float32 (N, C, H, W) to what enters the chain, float32 (N, H', W', D)."""
    if stem.pool is None:
        return _convolve(stem.conv, images).permute(0, 2, 3, 1).contiguous()
    parts = [stem.pool(_convolve(stem.conv, images[part])) for part in _slices(stem.conv, images)]
    return torch.cat([part.permute(0, 2, 3, 1) for part in parts])


def _enter_in_slices(conv: nn.Conv2d, norm: Normalization, images: Tensor, *, keep: bool) -> Activation:
    """The convolution's output as bits, some samples of it at a time; ``keep``: all of it as floats as well."""
    height, width = _output_size(conv, images)
    activation = room_for(images, (height, width, len(images), conv.out_channels), keep=keep)
    for part in _slices(conv, images):
        x = _convolve(conv, images[part]).permute(0, 2, 3, 1).contiguous()
        enter_some(x, norm.a, norm.b, activation, part.start)
    return activation


def _convolve(conv: nn.Conv2d, images: Tensor) -> Tensor:
    result: Tensor = conv(images.contiguous(memory_format=torch.channels_last))
    return result


def _slices(conv: nn.Conv2d, images: Tensor) -> Iterator[slice]:
    """Samples by the size of the convolution's output."""
    pixels = images.shape[2] * images.shape[3] // (conv.stride[0] * conv.stride[1])
    return sample_slices(len(images), 4 * pixels * conv.out_channels, is_cpu=images.is_cpu)


def _per_input(conv: nn.Conv2d, origin: Tensor) -> Tensor:
    """The origin of each input of an output, float64 (C · kh · kw,)."""
    return origin.double().view(-1, 1, 1).expand(-1, *conv.kernel_size).flatten()


def _shifted_weight(conv: nn.Conv2d, origin: Tensor) -> Tensor:
    """W with a last column for the bias, which takes up the origin: float64 (D, C · kh · kw + 1)."""
    weight = conv.weight.detach().flatten(1).double()
    bias = weight @ _per_input(conv, origin)
    if conv.bias is not None:
        bias += conv.bias.detach().double()
    return torch.cat([weight, bias.unsqueeze(1)], 1)


def _second_moments(conv: nn.Conv2d, images: Tensor, origin: Tensor, *, whole: bool) -> Tensor:
    """M; unless ``whole`` only the number of rows, for a normalisation that needs nothing else."""
    inputs = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1] + 1
    result = images.new_zeros((inputs, inputs), dtype=torch.float64)
    if not whole:
        result[-1, -1] = _row_count(conv, images)
        return result
    if images.is_cpu:
        return ops.stem_moments(images, origin, *_geometry(conv))
    for part in _slices(conv, images):
        patches = image_patches(images[part], origin, *_geometry(conv))
        result += torch.bmm(patches, patches.transpose(1, 2)).sum(0, dtype=torch.float64)
    return result


def _products(conv: nn.Conv2d, record: LinearRecord, g: RowGradient | PendingRows) -> Tensor:
    """Σ g uᵀ over the samples that are there, float64 (D, C · kh · kw + 1)."""
    origin, geometry = record.origin, _geometry(conv)
    result = torch.zeros_like(record.map.weight)
    for some in g.parts():
        if some.rows.is_cpu:
            result += ops.stem_products(record.images, origin, some.rows, some.index, *geometry)
            continue
        images, rows = record.images[some.index], some.rows.flatten(0, 1).permute(1, 2, 0)
        for part in _slices(conv, images):
            patches = image_patches(images[part], origin, *geometry)
            result += torch.bmm(rows[part], patches.transpose(1, 2)).sum(0, dtype=torch.float64)
    return result


def _pool_in_slices(conv: nn.Conv2d, pool: nn.MaxPool2d, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the pool chose, float32 (N, H', W', D), and where it stood in the convolution's output."""
    x, places = torch.empty(0), torch.empty(0)
    for part in _slices(conv, images):
        full = _convolve(conv, images[part])
        best, index = functional.max_pool2d(
            full, pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, return_indices=True
        )
        if part.start == 0:
            size = (len(images), *best.shape[2:], best.shape[1])
            narrow = full.shape[2] * full.shape[3] <= torch.iinfo(torch.int16).max
            x, places = best.new_empty(size), index.new_empty(size, dtype=torch.int16 if narrow else torch.int32)
        x[part].copy_(best.permute(0, 2, 3, 1))
        places[part].copy_(index.permute(0, 2, 3, 1))
    return x, places


def _pooled_gradients(conv: nn.Conv2d, pool: nn.MaxPool2d, record: PooledRecord, g: Tensor) -> tuple[Tensor, Tensor]:
    """dL/dW and dL/dbias from the gradient of the pool's output, float32 (N, H', W', D)."""
    weight, bias = torch.zeros_like(conv.weight), conv.weight.new_zeros(conv.out_channels)
    for part in _slices(conv, record.images):
        images = record.images[part].contiguous(memory_format=torch.channels_last)
        full = _unpool(conv, pool, images, g[part], record.places[part])
        weight += torch.nn.grad.conv2d_weight(  # type: ignore[no-untyped-call]
            images, conv.weight.shape, full, conv.stride, conv.padding, conv.dilation, conv.groups
        )
        if conv.bias is not None:
            bias += full.sum((0, 2, 3))
    return weight, bias


def _unpool(conv: nn.Conv2d, pool: nn.MaxPool2d, images: Tensor, g: Tensor, places: Tensor) -> Tensor:
    """The gradient at the convolution's output, float32 (N, D, H, W), from that at the pool's."""
    height, width = _output_size(conv, images)
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


def _row_count(conv: nn.Conv2d, images: Tensor) -> int:
    """Outputs of the convolution, over all images."""
    return len(images) * math.prod(_output_size(conv, images))


def _output_size(conv: nn.Conv2d, images: Tensor) -> tuple[int, ...]:
    """H', W' of the convolution."""
    return tuple(output_sizes(images.shape[2:], *_geometry(conv)))


def _geometry(conv: nn.Conv2d) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel, stride, padding, dilation."""
    assert not isinstance(conv.padding, str)
    return conv.kernel_size, conv.stride, conv.padding, conv.dilation


def _pair(sides: int | tuple[int, ...]) -> tuple[int, ...]:
    return (sides, sides) if isinstance(sides, int) else sides
