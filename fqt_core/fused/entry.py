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


@dataclass(frozen=True)
class EntryRecord:
    """What backward needs: the floats that came in, float32 (N, H, W, C), if a normalisation took them."""

    x: Tensor
    norm: Normalization | None


def enter(x: Tensor, norm: nn.BatchNorm2d | None, *, keep: bool) -> tuple[Activation, EntryRecord]:
    """Bits of float32 (N, H, W, C), contiguous, after ``norm``; ``keep``: the floats as well."""
    if norm is None:
        one = x.new_ones(x.shape[3])
        signs, window, h = ops.hwnc_enter(x, one, torch.zeros_like(one), keep)
        return Activation(signs, window, h if keep else None), EntryRecord(x, None)
    sums = Sums(*ops.hwnc_entry_moments(x), x.numel() // x.shape[3], x[0, 0, 0]) if norm.training else None
    constants = normalize(norm, None, None, sums)
    signs, window, h = ops.hwnc_enter(x, constants.a, constants.b, keep)
    return Activation(signs, window, h if keep else None), EntryRecord(x, constants)


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
