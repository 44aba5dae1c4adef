"""The shortcut where the resolution halves: average pool, 1x1 convolution, batch normalisation, on float rows.

Of it backward needs the pooled rows alone (:mod:`fqt_core.fused.linear`), a quarter of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fqt_core.fused.constants import kept
from fqt_core.fused.halving import halve
from fqt_core.fused.linear import LinearMap
from fqt_core.fused.normalization import Normalization, running_sources
from fqt_core.ops.memory import new_tensor


@dataclass(frozen=True)
class ShortcutRecord:
    """What backward needs. ``halved``: float32 (H', W', N, C); ``size``: H, W of the input."""

    halved: Tensor
    size: tuple[int, int]
    map: LinearMap
    norm: Normalization


def go_around(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, ShortcutRecord]:
    """float32 (H, W, N, C) to float32 (ceil(H / 2), ceil(W / 2), N, D), and what backward needs."""
    halved = halve(x)
    inputs = halved.flatten(0, 2)
    if norm.training:
        linear, constants, weight = _fold(conv, norm, inputs)
    else:
        sources = running_sources(norm, conv.weight, conv.bias)
        linear, constants, weight = kept(conv, sources, (norm.eps, len(inputs)), lambda: _fold(conv, norm, inputs))
    # Not a view of rows: it may become the output of the chain, which nobody could change in place then.
    result = new_tensor(halved, (*halved.shape[:3], len(weight)))
    torch.addmm(weight[:, -1], inputs, weight[:, :-1].t(), out=result.view(len(inputs), -1))
    return result, ShortcutRecord(halved, (x.shape[0], x.shape[1]), linear, constants)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d, inputs: Tensor) -> tuple[LinearMap, Normalization, Tensor]:
    """The map of float32 (rows, C), its normalisation, and both as one: float32 (D, C + 1), the shift in the end."""
    linear = LinearMap(_weight(conv), _second_moments(inputs, whole=norm.training), len(inputs))
    constants = linear.normalize(norm)
    folded = constants.a.double().unsqueeze(1) * linear.weight
    folded[:, -1] += constants.b
    return linear, constants, folded.to(torch.float32)


def come_back(
    conv: nn.Conv2d, norm: nn.BatchNorm2d, record: ShortcutRecord, g: Tensor, found: dict[Tensor, Tensor]
) -> Tensor:
    """The gradient of ``record.halved`` from that of the way's output, float32 (H', W', N, D).

    The parameters' gradients go into ``found``.
    """
    halved, rows = record.halved.flatten(0, 2), g.flatten(0, 2)
    products = torch.cat([rows.t() @ halved, rows.sum(0).unsqueeze(1)], 1).double()
    gradient, whole = record.map.gradient(record.norm, products)
    found |= {norm.weight: gradient.weight, norm.bias: gradient.shift}
    found[conv.weight] = whole[:, :-1].to(torch.float32).view_as(conv.weight)
    if conv.bias is not None:
        found[conv.bias] = whole[:, -1].to(torch.float32)
    # dL/du = ((c · g - a1 · W u) - a0) Wᵀ, put together without dL/dx.
    affine = record.map.weight.to(torch.float32)
    weight = affine[:, :-1]
    c, a0, a1 = (constant.unsqueeze(1) for constant in (gradient.c, gradient.a0, gradient.a1))
    through = weight.t() @ (a1 * affine)
    result = new_tensor(halved, record.halved.shape)
    into = result.flatten(0, 2)
    torch.addmm(-through[:, -1] - (weight.t() @ a0).flatten(), rows, c * weight, out=into)
    into.addmm_(halved, through[:, :-1].t(), alpha=-1)
    return result


def _weight(conv: nn.Conv2d) -> Tensor:
    """W with a last column for the bias, float64 (D, C + 1)."""
    bias = conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias
    return torch.cat([conv.weight.flatten(1), bias.unsqueeze(1)], 1).detach().double()


def _second_moments(rows: Tensor, *, whole: bool) -> Tensor:
    """M of float32 (rows, C); unless ``whole`` only their number, for a normalisation that needs nothing else."""
    channels = rows.shape[1]
    result = rows.new_zeros((channels + 1, channels + 1), dtype=torch.float64)
    if whole:
        result[:-1, :-1] = rows.t() @ rows
        result[-1, :-1] = result[:-1, -1] = rows.sum(0)
    result[-1, -1] = len(rows)
    return result
