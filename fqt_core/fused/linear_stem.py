"""The convolution before a chain without a pool: backward does without its output (:mod:`fqt_core.fused.linear`).

On a CPU it is never in memory as a whole either (:mod:`fqt_core.ops.stem`), and what follows from moments in training
is one operation each way (:mod:`fqt_core.ops.stem_normalization`); elsewhere torch runs it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused.convolution import convolve, geometry, output_size, row_count, slices
from fqt_core.fused.entry import enter_some, room_for
from fqt_core.fused.forward import Activation
from fqt_core.fused.linear import LinearMap
from fqt_core.fused.normalization import Normalization, running_statistics, synchronises
from fqt_core.fused.rows import PendingRows, RowGradient
from fqt_core.ops import stem, waiting
from fqt_core.ops.patches import image_patches
from fqt_core.ops.threads import threads_for

_MEANS = 4
"""Of so many numbers a mean takes as long as a loop with a few operations on one."""


@dataclass(frozen=True)
class LinearRecord:
    """What backward needs without a pool. ``origin``: float32 (C,), what was taken from the images' channels.

    ``cross_moments``: of :func:`fqt_core.ops.stem_normalization` where that found the constants, for its gradient.
    """

    images: Tensor
    origin: Tensor
    map: LinearMap
    norm: Normalization
    cross_moments: Tensor | None


@dataclass(frozen=True)
class LinearGradients:
    """Of the convolution's weight and bias, and of γ and β, float32."""

    weight: Tensor
    bias: Tensor
    gamma: Tensor
    beta: Tensor


def enter_linear(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, images: Tensor, *, keep: bool
) -> tuple[Activation, LinearRecord]:
    """Bits of float32 images (N, C, H, W) after convolution and ``norm``; ``keep``: the floats as well."""
    with threads_for(images.numel() // _MEANS):
        origin = images.mean((0, 2, 3))
    moments = _second_moments(conv, images, origin, whole=norm.training)
    rows = row_count(conv, images)
    if norm.training and rows > 1 and stem.serves(images) and not synchronises(norm):
        record = _normalize_in_one(conv, norm, images, origin, moments, rows)
    else:
        linear = LinearMap(_shifted_weight(conv, origin), moments, rows)
        record = LinearRecord(images, origin, linear, linear.normalize(norm), None)
    return enter_with(conv, record.norm, images, keep=keep), record


def enter_with(conv: nn.Conv2d, norm: Normalization, images: Tensor, *, keep: bool) -> Activation:
    """The convolution's output, normalised, as bits; ``keep``: all of it as floats as well."""
    height, width = output_size(conv, images)
    into = room_for(images, (height, width, len(images), conv.out_channels), keep=keep)
    if stem.serves(images):
        weight, bias = _parameters(conv)
        window = geometry(conv)[1:]
        ops.stem_enter(images, weight, bias, norm.a, norm.b, into.signs, into.window, into.floats, *window)
        return into
    for part in slices(conv, images):
        x = convolve(conv, images[part]).permute(0, 2, 3, 1).contiguous()
        enter_some(x, norm.a, norm.b, into, part.start)
    return into


def leave_linear(conv: nn.Conv2d, record: LinearRecord, g: RowGradient | PendingRows, *, step: int) -> LinearGradients:
    """The gradients of all parameters, from that of the normalisation's output.

    Raises:
        NonFiniteGradientError: the gradient holds an infinity or NaN.
    """
    sums, linear, norm = _products(conv, record, g), record.map, record.norm
    if record.cross_moments is not None:
        of_inputs = sums, linear.weight, record.cross_moments, linear.moments
        of_outputs = norm.center, norm.constants, record.origin
        *found, finite = ops.stem_gradient(*of_inputs, *of_outputs, conv.kernel_size, linear.rows, norm.batch)
        _require_finite(finite, step)
        return LinearGradients(*found)
    if waiting.at_once(sums):
        _require_finite(torch.isfinite(sums).all(), step)
    gradient, whole = linear.gradient(norm, sums)
    weight, bias = _weight_gradients(conv, record, whole)
    return LinearGradients(weight, bias, gradient.weight, gradient.shift)


def _normalize_in_one(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, images: Tensor, origin: Tensor, moments: Tensor, rows: int
) -> LinearRecord:
    """As :meth:`LinearMap.normalize` in training."""
    running, affine, options = running_statistics(norm), (norm.weight, norm.bias), (norm.momentum, norm.eps)
    weight, bias = _parameters(conv)
    a, b, center, constants, augmented, cross_moments = ops.stem_normalization(
        weight, bias, origin, moments, rows, *running, *affine, *options
    )
    torch.autograd.graph.increment_version(running[-1])
    found = Normalization(a, b, center, constants, batch=True)
    return LinearRecord(images, origin, LinearMap(augmented, moments, rows), found, cross_moments)


def _require_finite(finite: Tensor, step: int) -> None:
    if not bool(finite):
        raise NonFiniteGradientError("the normalisation before the first binarised layer", step)


def _parameters(conv: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    return conv.weight.detach(), None if conv.bias is None else conv.bias.detach()


def _products(conv: nn.Conv2d, record: LinearRecord, g: RowGradient | PendingRows) -> Tensor:
    """Σ g uᵀ over the samples that are there, float64 (D, C · kh · kw + 1)."""
    result: Tensor | None = None
    for part in g.parts():
        found = _products_of(conv, record, part)
        result = found if result is None else result.add_(found)
    return torch.zeros_like(record.map.weight) if result is None else result


def _weight_gradients(conv: nn.Conv2d, record: LinearRecord, whole: Tensor) -> tuple[Tensor, Tensor]:
    """dL/dW and dL/dbias, float32, from the gradient of the map, float64 (D, C · kh · kw + 1)."""
    bias = whole[:, -1]
    weight = whole[:, :-1] + bias.unsqueeze(1) * _per_input(conv, record.origin)
    return weight.to(torch.float32).view_as(conv.weight), bias.to(torch.float32)


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
    if whole and stem.serves(images):
        return ops.stem_moments(images, origin, *geometry(conv))
    inputs = conv.in_channels * conv.kernel_size[0] * conv.kernel_size[1] + 1
    result = images.new_zeros((inputs, inputs), dtype=torch.float64)
    if not whole:
        result[-1, -1] = row_count(conv, images)
        return result
    for part in slices(conv, images):
        patches = image_patches(images[part], origin, *geometry(conv))
        result += torch.bmm(patches, patches.transpose(1, 2)).sum(0, dtype=torch.float64)
    return result


def _products_of(conv: nn.Conv2d, record: LinearRecord, g: RowGradient) -> Tensor:
    if stem.serves(g.rows):
        return ops.stem_products(record.images, record.origin, g.rows, g.index, *geometry(conv))
    images, rows = record.images[g.index], g.rows.flatten(0, 1).permute(1, 2, 0)
    result = torch.zeros_like(record.map.weight)
    for part in slices(conv, images):
        patches = image_patches(images[part], record.origin, *geometry(conv))
        result += torch.bmm(rows[part], patches.transpose(1, 2)).sum(0, dtype=torch.float64)
    return result
