"""A block's forward pass in training as one operation: product, pooling, normalisation, and the next layer's bits.

It is put together from operations that can be called by themselves, and gives what they give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fqt_core.ops.registry import OPERATIONS, operation

_Found: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _composed(
    part: Callable[[str], Callable[..., Any]],
    count: Callable[[Tensor, float | None], float],
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    pool: bool,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    gamma: Tensor,
    beta: Tensor,
    alpha: Tensor | None,
    shift: Tensor | None,
    momentum: float | None,
    eps: float,
    residual: Tensor | None,
    keep: bool,
) -> _Found:
    """``part``: an operation's reference, or its fake kernel, by its name; ``count``: as :func:`count_batch`."""
    y, first, second = part("hwnc_binary_conv2d")(x, weight, channels, stride, padding, dilation)
    choice = y.new_empty(0, dtype=torch.uint8)
    if pool:
        y, choice, first, second = part("hwnc_max_pool2d")(y, flips(alpha, y))
    rows = y.shape[0] * y.shape[1] * y.shape[2]
    a, b, center, constants = part("hwnc_normalization")(
        running_mean, running_var, gamma, beta, alpha, shift, None, first, second, rows, count(batches, momentum), eps
    )
    signs, window, h = part("hwnc_affine_sign")(y, a, b, residual, keep)
    return signs, window, h, y, choice, a, b, center, constants


def flips(alpha: Tensor | None, y: Tensor) -> Tensor:
    """Which channels of y :func:`hwnc_max_pool2d` flips: uint8 (D,), 1 where α, float32 (D,) or none, is negative."""
    return y.new_zeros(y.shape[3], dtype=torch.uint8) if alpha is None else (alpha.detach() < 0).to(torch.uint8)


def count_batch(batches: Tensor, momentum: float | None) -> float:
    """Count a batch; the momentum with which running statistics take it up.

    Args:
        batches: int64 (), how many there were.
        momentum: as of ``torch.nn.BatchNorm2d``, ``None`` for that of a mean over all batches.
    """
    batches.add_(1)
    return 1 / int(batches) if momentum is None else momentum


def _block_fake(*arguments: Any) -> _Found:
    return _composed(lambda name: OPERATIONS[name].fake, lambda _, momentum: momentum or 0.0, *arguments)


@operation(
    "hwnc_block_forward(Tensor x, Tensor weight, int channels, int[2] stride, int[2] padding, int[2] dilation,"
    " bool pool, Tensor(a!) running_mean, Tensor(b!) running_var, Tensor(c!) batches, Tensor gamma, Tensor beta,"
    " Tensor? alpha, Tensor? shift, float? momentum, float eps, Tensor(d!)? residual, bool keep)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake=_block_fake,
)
def hwnc_block_forward(
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    pool: bool,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
    gamma: Tensor,
    beta: Tensor,
    alpha: Tensor | None,
    shift: Tensor | None,
    momentum: float | None,
    eps: float,
    residual: Tensor | None,
    keep: bool,
) -> _Found:
    """A block's forward pass, its normalisation by the batch's mean and variance.

    Args:
        x, weight, channels, stride, padding, dilation: as of :func:`hwnc_binary_conv2d`.
        pool: whether :func:`hwnc_max_pool2d` follows, of the largest α · y in each window.
        running_mean, running_var, gamma, beta, alpha, shift, eps: as of :func:`hwnc_normalization`, whose ``weight``
            and ``bias`` are ``gamma`` and ``beta`` here.
        batches, momentum: as of :func:`count_batch`.
        residual, keep: as of :func:`hwnc_affine_sign`.

    Returns:
        Sign words, window words and h of :func:`hwnc_affine_sign`; int16 (H', W', N, D) the integers that were
        normalised; uint8 of the same shape the pool's choice, without a pool (0,); a, b, center and constants of
        :func:`hwnc_normalization`.
    """
    return _composed(
        lambda name: OPERATIONS[name].reference,
        count_batch,
        x,
        weight,
        channels,
        stride,
        padding,
        dilation,
        pool,
        running_mean,
        running_var,
        batches,
        gamma,
        beta,
        alpha,
        shift,
        momentum,
        eps,
        residual,
        keep,
    )
