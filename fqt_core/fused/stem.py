"""The full-precision convolution before a chain, run so that little of it has to stay for backward.

Its output is the largest tensor of a network. Without a pool, backward does without it
(:mod:`fqt_core.fused.linear_stem`); before a pool, the convolution runs for some samples at a time, and only what the
pool chose is kept, with its places (:mod:`fqt_core.fused.pooled_stem`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fqt_core.fused.block import Stem
from fqt_core.fused.convolution import convolve, slices
from fqt_core.fused.entry import enter, leave
from fqt_core.fused.forward import Activation
from fqt_core.fused.linear_stem import LinearRecord, enter_linear, enter_with, leave_linear
from fqt_core.fused.normalization import normalize
from fqt_core.fused.pooled_stem import PooledRecord, pool_in_slices, pooled_gradients
from fqt_core.fused.rows import PendingRows, RowGradient

StemRecord = LinearRecord | PooledRecord


def enter_stem(stem: Stem, norm: nn.BatchNorm2d, images: Tensor, *, keep: bool) -> tuple[Activation, StemRecord]:
    """Bits of float32 images (N, C, H, W) after convolution, pool and ``norm``; ``keep``: the floats as well."""
    if stem.pool is None:
        return enter_linear(stem.conv, norm, images, keep=keep)
    x, places = pool_in_slices(stem.conv, stem.pool, images)
    activation, entry = enter(x, norm, keep=keep)
    return activation, PooledRecord(images, places, entry)


def leave_stem(
    stem: Stem,
    norm: nn.BatchNorm2d,
    records: list[StemRecord],
    gradient: list[RowGradient | PendingRows],
    found: dict[Tensor, Tensor],
    *,
    step: int,
) -> None:
    """The gradients of the parameters of ``stem`` and ``norm`` go into ``found``.

    Args:
        records: the record, which is taken out of the list, so that what was used goes before the convolution needs
            its room.
        gradient: dL/dh, taken out likewise; without a pool it comes in parts.

    Raises:
        NonFiniteGradientError: the gradient holds an infinity or NaN.
    """
    conv, record = stem.conv, records.pop()
    if isinstance(record, PooledRecord):
        assert stem.pool is not None
        images, places = record.images, record.places
        g = leave(record.entry, norm, gradient.pop().whole(), found, step=step)
        del record
        weight, bias = pooled_gradients(conv, stem.pool, images, places, g)
    else:
        gradients = leave_linear(conv, record, gradient.pop(), step=step)
        weight, bias = gradients.weight, gradients.bias
        found |= {norm.weight: gradients.gamma, norm.bias: gradients.beta}
    found[conv.weight] = weight
    if conv.bias is not None:
        found[conv.bias] = bias


def apply_stem(stem: Stem, norm: nn.BatchNorm2d, images: Tensor, *, keep: bool) -> Activation:
    """As :func:`enter_stem` where ``norm`` takes its running statistics and nothing has to be kept for backward."""
    if stem.pool is None:
        return enter_with(stem.conv, normalize(norm, None, None, None), images, keep=keep)
    parts = [stem.pool(convolve(stem.conv, images[part])) for part in slices(stem.conv, images)]
    return enter(torch.cat([part.permute(0, 2, 3, 1) for part in parts]), norm, keep=keep)[0]
