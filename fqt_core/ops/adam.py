"""The optimiser's side of a binarised layer: one pass over its latents instead of one per quantity.

Latents are rows (D, T, C): an output channel's taps (one for a linear layer), input channels side by side. That is how
a weight (D, C, kh, kw) in torch's channels-last format lies in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.ops.division import divided
from fqt_core.ops.geometry import check, check_count, pairs_of, words_for
from fqt_core.ops.hwnc.gradient import check_index
from fqt_core.ops.packing import pack_bits
from fqt_core.ops.registry import OPERATIONS, operation

LANES = 16
"""Partial sums of a mean magnitude: input channel c belongs to number c % LANES."""


def _check_rows(name: str, rows: Tensor) -> None:
    check(rows.dtype == torch.float32 and rows.dim() == 3, f"{name} must be float32 with 3 dimensions")
    check(rows.numel() > 0, f"{name} is empty: shape {tuple(rows.shape)}")


def _mean_magnitude_fake(weight: Tensor) -> Tensor:
    return weight.new_empty(weight.shape[0])


@operation("mean_magnitude(Tensor weight) -> Tensor", fake=_mean_magnitude_fake)
def mean_magnitude(weight: Tensor) -> Tensor:
    """Mean |weight| of each output channel.

    The order of summation is fixed: in float64, 16 partial sums, of which number ``c % 16`` takes the elements of input
    channel c, by tap, then channel; then these 16 in order. The mean is rounded to float32 once.

    Args:
        weight: float32 (D, T, C), not empty.

    Returns:
        float32 (D,).
    """
    _check_rows("weight", weight)
    outputs, taps, channels = weight.shape
    lanes = functional.pad(weight.abs().double(), (0, -channels % LANES)).view(outputs, -1, LANES)
    total = lanes.cumsum(1)[:, -1].cumsum(1)[:, -1]
    return divided(total, taps * channels).to(torch.float32)


def _adam_binary_fake(
    weight: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    gradient: Tensor,
    index: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
    clamp: bool,
) -> tuple[Tensor, Tensor]:
    del exp_avg, exp_avg_sq, gradient, index, lr, beta1, beta2, eps, weight_decay, step, clamp
    outputs, taps, channels = weight.shape
    return weight.new_empty((outputs, taps, words_for(channels)), dtype=torch.int64), weight.new_empty(outputs)


@operation(
    "adam_binary_(Tensor(a!) weight, Tensor(b!) exp_avg, Tensor(c!) exp_avg_sq, Tensor gradient, Tensor index,"
    " float lr, float beta1, float beta2, float eps, float weight_decay, int step, bool clamp) -> (Tensor, Tensor)",
    fake=_adam_binary_fake,
)
def adam_binary_(
    weight: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    gradient: Tensor,
    index: Tensor,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: int,
    clamp: bool,
) -> tuple[Tensor, Tensor]:
    """One step of Adam on latents, in place, and what the next forward pass wants of them.

    Adam as D. P. Kingma and J. Ba define it (arXiv 1412.6980), with the L2 penalty in the gradient, as in
    ``torch.optim.Adam``. Constants, in float64, then rounded to float32::

        root = sqrt(1 - beta2 ** step),    rate = lr * root / (1 - beta1 ** step),    epsilon = eps * root

    Each operation on elements rounds to the nearest float32 by itself, in this order (g is 0 for output channels that
    are not in ``index``)::

        g = g + weight_decay * w
        m = m + (g - m) * (1 - beta1)
        v = v * beta2 + ((1 - beta2) * g) * g
        w = w - (rate * m) / (sqrt(v) + epsilon)
        w = min(max(w, -1), 1)                       if clamp; a NaN stays one

    Multiplying rate and ε by ``root`` instead of dividing each sqrt(v) by it saves a division, and is all that differs
    from torch's sequence.

    Args:
        weight, exp_avg, exp_avg_sq: float32 (D, T, C), contiguous, not empty; changed in place.
        gradient: float32 (k, T, C).
        index: int64 (k,), which output channel each row of the gradient belongs to, rising.
        lr, beta1, beta2, eps, weight_decay: as of ``torch.optim.Adam``.
        step: which step this is, from 1.
        clamp: whether the latents are kept in [-1, 1].

    Returns:
        Of the new weight: sign words int64 (D, T, ceil(C / 64)), and :func:`mean_magnitude`, float32 (D,).
    """
    _check_rows("weight", weight)
    for name, state in (("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq)):
        check(state.dtype == torch.float32, f"{name} must be float32, got {state.dtype}")
        check(state.shape == weight.shape, f"{name} must have the shape of the weight, got {tuple(state.shape)}")
    check_index("index", index, weight.shape[0])
    expected = (index.shape[0], *weight.shape[1:])
    check(gradient.dtype == torch.float32, f"gradient must be float32, got {gradient.dtype}")
    check(tuple(gradient.shape) == expected, f"gradient must have shape {expected}, got {tuple(gradient.shape)}")
    check(step >= 1, f"step must be at least 1, got {step}")
    root = math.sqrt(1 - beta2**step)
    rate, epsilon = lr * root / (1 - beta1**step), eps * root
    g = torch.zeros_like(weight).index_copy_(0, index, gradient) + weight_decay * weight
    exp_avg += (g - exp_avg) * (1 - beta1)
    exp_avg_sq.mul_(beta2).add_(((1 - beta2) * g) * g)
    # torch's float32 root is not always the nearest number; a float64 root, rounded again, is.
    weight -= (rate * exp_avg) / (exp_avg_sq.double().sqrt().to(torch.float32) + epsilon)
    if clamp:
        weight.clamp_(-1, 1)
    return pack_bits(weight >= 0), mean_magnitude(weight)


_PAIRS = 4
"""Of a layer's geometry: kernel_size, stride, padding, dilation."""


def _adam_binary_all_fake(
    weight: list[Tensor],
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
    gradient: list[Tensor],
    index: list[Tensor],
    codes: list[Tensor],
    scale: list[Tensor],
    offset: list[Tensor],
    alpha: list[Tensor],
    geometry: Sequence[int],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: Sequence[int],
    clamp: bool,
) -> tuple[Tensor, Tensor]:
    del exp_avg, exp_avg_sq, gradient, index, codes, scale, offset, alpha, geometry
    del lr, beta1, beta2, eps, weight_decay, step, clamp
    count = sum(w.shape[0] * w.shape[1] * words_for(w.shape[2]) for w in weight)
    return weight[0].new_empty(count, dtype=torch.int64), weight[0].new_empty(sum(w.shape[0] for w in weight))


@operation(
    "adam_binary_all_(Tensor(a!)[] weight, Tensor(b!)[] exp_avg, Tensor(c!)[] exp_avg_sq, Tensor[] gradient,"
    " Tensor[] index, Tensor[] codes, Tensor[] scale, Tensor[] offset, Tensor[] alpha, int[] geometry, float lr,"
    " float beta1, float beta2, float eps, float weight_decay, int[] step, bool clamp) -> (Tensor, Tensor)",
    fake=_adam_binary_all_fake,
)
def adam_binary_all_(
    weight: list[Tensor],
    exp_avg: list[Tensor],
    exp_avg_sq: list[Tensor],
    gradient: list[Tensor],
    index: list[Tensor],
    codes: list[Tensor],
    scale: list[Tensor],
    offset: list[Tensor],
    alpha: list[Tensor],
    geometry: Sequence[int],
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    step: Sequence[int],
    clamp: bool,
) -> tuple[Tensor, Tensor]:
    """:func:`adam_binary_` on the latents of several layers, whose gradients may be made on the way.

    Args:
        weight, exp_avg, exp_avg_sq, index, step: of each layer, as of :func:`adam_binary_`.
        gradient: of each layer, rows float32 (k, T, C); or what they are made of, the layer's input as sign words int64
            (H, W, N, ceil(C / 64)). Of each of the latter, in order, there is an entry in the following five.
        codes, scale, offset: as of :func:`~fqt_core.ops.hwnc_weight_gradient`.
        alpha: float32 (D,), what the row of each output channel is multiplied by.
        geometry: eight numbers, of two each: kernel_size, stride, padding, dilation.
        lr, beta1, beta2, eps, weight_decay, clamp: as of :func:`adam_binary_`.

    Returns:
        The results of :func:`adam_binary_`, layer after layer in one vector each: sign words int64 (Σ D · T · words,),
        and mean magnitudes float32 (Σ D,).
    """
    check(len(weight) > 0, "weight has no entries")
    made = sum(g.dtype == torch.int64 for g in gradient)
    for name, values, count in (
        *((name, values, len(weight)) for name, values in (("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq))),
        *((name, values, len(weight)) for name, values in (("gradient", gradient), ("index", index), ("step", step))),
        *((name, values, made) for name, values in (("codes", codes), ("scale", scale), ("offset", offset))),
        ("alpha", alpha, made),
        ("geometry", geometry, 2 * _PAIRS * made),
    ):
        check_count(name, values, count)
    products = zip(codes, scale, offset, alpha, range(made), strict=True)
    results: list[tuple[Tensor, Tensor]] = []
    for w, m, v, g, i, t in zip(weight, exp_avg, exp_avg_sq, gradient, index, step, strict=True):
        rows = g
        if g.dtype == torch.int64:
            code, factor, shift, by, number = next(products)
            pairs = pairs_of(geometry, number, _PAIRS)
            product = OPERATIONS["hwnc_weight_gradient"].reference(g, code, w.shape[2], *pairs, factor, shift)
            check(by.shape == w.shape[:1], f"alpha must have shape {tuple(w.shape[:1])}, got {tuple(by.shape)}")
            check_index("index", i, len(w))
            check(len(i) == len(product), f"index must have shape {(len(product),)}, got {tuple(i.shape)}")
            rows = product.mul_(by[i].view(-1, 1, 1, 1)).flatten(1, 2)
        options = (lr, beta1, beta2, eps, weight_decay, t, clamp)
        results.append(OPERATIONS["adam_binary_"].reference(w, m, v, rows, i, *options))
    return torch.cat([words.flatten() for words, _ in results]), torch.cat([magnitude for _, magnitude in results])
