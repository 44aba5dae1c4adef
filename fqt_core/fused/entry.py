"""The entry of a chain: a float batch normalisation, if one stands there, and the first sign."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.errors import NonFiniteGradientError
from fqt_core.fused.forward import Activation
from fqt_core.fused.normalization import Normalization, Sums, normalize
from fqt_core.fused.rows import RowGradient
from fqt_core.ops import waiting
from fqt_core.ops.geometry import words_for
from fqt_core.ops.memory import new_tensor


@dataclass(frozen=True)
class EntryRecord:
    """What backward needs: the floats that came in, float32 (N, H, W, C), if a normalisation took them."""

    x: Tensor
    norm: Normalization | None


def enter(x: Tensor, norm: nn.BatchNorm2d | None, *, keep: bool) -> tuple[Activation, EntryRecord]:
    """Bits of float32 (N, H, W, C), contiguous, after ``norm``; ``keep``: the floats as well."""
    samples, height, width, channels = x.shape
    activation = room_for(x, (height, width, samples, channels), keep=keep)
    if norm is None:
        one = x.new_ones(channels)
        enter_some(x, one, torch.zeros_like(one), activation, 0)
        return activation, EntryRecord(x, None)
    sums = Sums(*ops.hwnc_entry_moments(x), x.numel() // x.shape[3], x[0, 0, 0]) if norm.training else None
    constants = normalize(norm, None, None, sums)
    enter_some(x, constants.a, constants.b, activation, 0)
    return activation, EntryRecord(x, constants)


def room_for(like: Tensor, size: tuple[int, int, int, int], *, keep: bool) -> Activation:
    """An activation of H, W, N, C = ``size`` to be written; ``keep``: with floats."""
    signs, window = (new_tensor(like, (*size[:3], words_for(size[3])), torch.int64) for _ in range(2))
    return Activation(signs, window, new_tensor(like, size) if keep else None)


def enter_some(x: Tensor, a: Tensor, b: Tensor, into: Activation, first: int) -> None:
    """``a · x + b`` of float32 (n, H, W, C) as the samples of ``into`` from ``first`` on."""
    ops.hwnc_enter(x, a, b, into.signs, into.window, into.floats, first)


def leave(
    record: EntryRecord, norm: nn.BatchNorm2d | None, g: RowGradient, found: dict[Tensor, Tensor], *, step: int
) -> Tensor:
    """dL/dx, float32 (N, H, W, C), from dL/dh; the normalisation's parameter gradients go into ``found``.

    Raises:
        NonFiniteGradientError: the gradient holds an infinity or NaN.
    """
    if norm is None or record.norm is None:
        one = g.rows.new_ones(record.x.shape[3])
        return ops.hwnc_leave(g.rows, g.index, record.x, one, torch.zeros_like(one), torch.zeros_like(one))
    rows, beside = g.kept_first(record.x.permute(1, 2, 0, 3))
    sums = ops.hwnc_entry_sums(rows, g.index, beside.permute(2, 0, 1, 3).contiguous(), record.norm.center)
    gradient = record.norm.gradient(*sums, record.x.numel() // record.x.shape[3])
    if waiting.at_once(gradient.finite) and not gradient.finite:
        raise NonFiniteGradientError("the normalisation before the first binarised layer", step)
    found |= {norm.weight: gradient.weight, norm.bias: gradient.shift}
    return ops.hwnc_leave(g.rows, g.index, record.x, gradient.c, gradient.a0, gradient.a1)
