"""The mathematics once more, in numpy and plain autograd, sharing no code with what is tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

MASK = np.uint64(0xFFFFFFFF)


def philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> list[int]:
    """Philox-4x32-10 in Python integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def uniform(key: tuple[int, int, int, int], group: int, size: int) -> np.ndarray:
    """float32 (size,): the uniform numbers of one group; key = (seed, step, layer, purpose)."""
    seed, step, layer, purpose = key
    blocks = -(-size // 4)
    words: list[int] = []
    for block in range(group * blocks, (group + 1) * blocks):
        words += philox((block, step, layer, purpose), (seed & 0xFFFFFFFF, seed >> 32))
    return np.array([(word >> 8) / 2**24 for word in words[:size]], dtype=np.float32)


def group_rows(g: Tensor, dim: int) -> np.ndarray:
    """(groups, elements), channels last within a sample, pixels in order within a channel."""
    array = g.numpy()
    order = (0, *range(2, array.ndim), 1) if dim == 0 else (1, 0, *range(2, array.ndim))
    moved = array.transpose(order)
    return moved.reshape(moved.shape[0], -1)


def codes(g: Tensor, dim: int, index: Tensor, lo: Tensor, hi: Tensor, bits: int, key: Any) -> Tensor:
    """uint8 (k, elements), each operation in float32."""
    f = np.float32
    rows, levels = group_rows(g, dim), f(2**bits - 1)
    result = []
    for i, low, high in zip(index.tolist(), lo.numpy(), hi.numpy(), strict=True):
        extent = f(high - low)
        scale = f(2.0**64) if 0 < extent < 2.0**-60 else f(2.0**-64) if extent > 2.0**60 else f(1)
        inverse = f(levels / f(extent * scale)) if high > low else f(0)
        with np.errstate(over="ignore"):  # far outside a narrow range; clipped
            value = np.clip((rows[i] - low) * scale * inverse, f(0), levels)
        result.append(np.minimum(np.floor(value + uniform(key, i, rows.shape[1])), levels).astype(np.uint8))
    size = rows.shape[1]
    return torch.from_numpy(np.array(result, dtype=np.uint8).reshape(-1, size))


class Sign(torch.autograd.Function):
    """sign with sign(0) = +1; the gradient passes where |x| < 1, or everywhere for a weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, windowed: bool) -> Tensor:
        """-1 or +1."""
        ctx.save_for_backward(x)
        ctx.windowed = windowed
        return torch.where(x < 0, -1.0, 1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """The straight-through estimator."""
        (x,) = ctx.saved_tensors
        return (gradient * ((x > -1) & (x < 1)) if ctx.windowed else gradient), None


def binary_layer(x: Tensor, weight: Tensor, alpha: Tensor | None, bias: Tensor | None, **geometry: Any) -> Tensor:
    """A fake-quantised convolution, or linear layer if x has two dimensions, made for autograd."""
    xb, wb = Sign.apply(x, True), Sign.apply(weight, False)
    y = functional.linear(xb, wb) if x.dim() == 2 else functional.conv2d(xb, wb, None, **geometry)
    shape = (1, -1) + (1,) * (y.dim() - 2)
    if alpha is not None:
        y = y * alpha.view(shape)
    return y if bias is None else y + bias.view(shape)
