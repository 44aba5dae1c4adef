"""The two backward products of kept pixel rows: integer codes times ±1, and what stands outside of their sums.

A code q of b bits stands for the odd integer 2q - L, L = 2**b - 1, which is Σ 2^i · (±1) over its bits: so sums over
channels are those of XNOR and popcount, bit by bit. Only kept rows come in, gathered.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fqt_core.ops.backward import MAX_CODE
from fqt_core.ops.forward import check_groups, exact_dtype
from fqt_core.ops.geometry import EXACT_FLOAT32, INT32_MAX, check, check_geometry, check_words, output_sizes
from fqt_core.ops.packing import unpack_sign
from fqt_core.ops.registry import operation


def _check_rising(index: Tensor) -> None:
    check(index.dtype == torch.int64 and index.dim() == 1, "index must be int64 with 1 dimension")
    rises = index.numel() == 0 or bool((index.diff() > 0).all() and index[0] >= 0)
    check(rises, "index must rise and be at least 0")


class _Taps:
    """Where the taps of pixel rows land. ``of(kh, kw)``: which rows land inside, and on which of N·H·W inputs."""

    def __init__(
        self,
        index: Tensor,
        samples: int,
        size: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
    ) -> None:
        height, width = output_sizes(size, kernel, stride, padding, dilation)
        _check_rising(index)
        self.samples, self.size, self.dilation = samples, size, dilation
        self.sample, place = index // (height * width), index % (height * width)
        self.top = place // width * stride[0] - padding[0]
        self.left = place % width * stride[1] - padding[1]

    def of(self, kh: int, kw: int) -> tuple[Tensor, Tensor]:
        """Bool (k,), and int64 (inside,)."""
        h, w = self.top + kh * self.dilation[0], self.left + kw * self.dilation[1]
        inside = (self.sample < self.samples) & (h >= 0) & (h < self.size[0]) & (w >= 0) & (w < self.size[1])
        return inside, ((self.sample * self.size[0] + h) * self.size[1] + w)[inside]


def _input_gradient_fake(
    codes: Tensor,
    bits: int,
    index: Tensor,
    scale: Tensor | None,
    offset: Tensor | None,
    dither: Tensor | None,
    sign: Tensor | None,
    weight: Tensor,
    samples: int,
    channels: int,
    input_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    del bits, index, scale, offset, dither, sign, weight, stride, padding, dilation, groups
    return codes.new_empty((samples, *input_size, channels), dtype=torch.float32)


@operation(
    "pixel_input_gradient(Tensor codes, int bits, Tensor index, Tensor? scale, Tensor? offset, Tensor? dither,"
    " Tensor? sign, Tensor weight, int samples, int channels, int[2] input_size, int[2] stride, int[2] padding,"
    " int[2] dilation, int groups) -> Tensor",
    fake=_input_gradient_fake,
)
def pixel_input_gradient(
    codes: Tensor,
    bits: int,
    index: Tensor,
    scale: Tensor | None,
    offset: Tensor | None,
    dither: Tensor | None,
    sign: Tensor | None,
    weight: Tensor,
    samples: int,
    channels: int,
    input_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """The product that gives dL/dX, for kept pixel rows.

    Row j adds to the input under each tap t and to each input channel c, with w = ±1 and all sums over the output
    channels d of c's group::

        scale_j · Σ (2q[j, d] - L) w[d, t, c]  +  (offset_j · Σ w[d, t, c]  -  dither_j · Σ sign_d w[d, t, c])

    The three sums are integers. Each float32 operation is rounded by itself, and rows are added in their order, from 0
    on. Without scales, what is added is the first sum as it is, and the result is exact.

    Args:
        codes: uint8 (k, D); bits above the lowest ``bits`` are ignored.
        bits: 1 to 8.
        index: int64 (k,), numbers of the rows among N·H'·W', rising; what is beyond them is left out.
        scale, offset, dither: float32 (k,), and ``sign``, float32 (D,) of -1 and +1; all ``None`` or none.
        weight: int64 sign words (D, kh, kw, ceil(C / groups / 64)).
        samples, channels: N and C.
        input_size: H, W.
        stride, padding, dilation, groups: of the forward convolution.

    Returns:
        float32 (N, H, W, C).
    """
    check_geometry(stride, padding, dilation)
    outputs, *kernel = weight.shape[:3]
    check(codes.dtype == torch.uint8 and codes.dim() == 2, "codes must be uint8 with 2 dimensions")
    check(tuple(codes.shape) == (index.shape[0], outputs), f"codes must have shape (k, {outputs})")
    check(1 <= bits <= 8, f"bits must be 1 to 8, got {bits}")
    check_groups(channels, outputs, groups)
    check_words("weight", weight, 4, channels // groups)
    taps = _Taps(index, samples, input_size, kernel, stride, padding, dilation)
    levels = (1 << bits) - 1
    most = levels * (outputs // groups) * (1 if scale is not None else kernel[0] * kernel[1])
    check(most <= EXACT_FLOAT32, f"sums of {outputs // groups} products are too large for float32")
    signs = unpack_sign(weight, channels // groups)
    signs = signs.view(groups, outputs // groups, *signs.shape[1:])  # (groups, D, C, kh, kw)
    odd = (2.0 * (codes & levels).to(torch.float32) - levels).view(-1, groups, outputs // groups).transpose(0, 1)
    result = signs.new_zeros((samples * input_size[0] * input_size[1], channels))
    # Rows rise where taps fall: an input pixel meets a row further on by a tap further back.
    for kh in reversed(range(kernel[0])):
        for kw in reversed(range(kernel[1])):
            inside, at = taps.of(kh, kw)
            w = signs[..., kh, kw]  # (groups, D, C)
            term = (odd[:, inside] @ w).round().transpose(0, 1).flatten(1)
            if scale is not None:
                assert offset is not None
                assert dither is not None
                assert sign is not None
                ones = w.sum(1).flatten()
                dithered = (sign.view(groups, outputs // groups, 1) * w).sum(1).flatten()
                constant = offset[inside, None] * ones - dither[inside, None] * dithered
                term = scale[inside, None] * term + constant
            result[at] += term  # each input once: a tap joins an input with one row
    return result.view(samples, *input_size, channels)


def _weight_gradient_fake(
    x: Tensor,
    codes: Tensor,
    bits: int,
    index: Tensor,
    output: Tensor,
    channels: int,
    outputs: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    del bits, index, output, outputs, stride, padding, dilation
    return x.new_empty((codes.shape[0], channels // groups, *kernel_size), dtype=torch.int32)


@operation(
    "pixel_weight_gradient(Tensor x, Tensor codes, int bits, Tensor index, Tensor output, int channels, int outputs,"
    " int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, int groups) -> Tensor",
    fake=_weight_gradient_fake,
)
def pixel_weight_gradient(
    x: Tensor,
    codes: Tensor,
    bits: int,
    index: Tensor,
    output: Tensor,
    channels: int,
    outputs: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Σ_j q[r, j] · Xb under each tap, over kept pixel rows j: the product that gives dL/dW.

    Args:
        x: int64 sign words (N, H, W, ceil(C / 64)).
        codes: uint8 (r, k), one row per output channel or rank-1 term; bits above the lowest ``bits`` are ignored.
        bits: 1 to 8.
        index: int64 (k,), numbers of the rows among N·H'·W', rising; what is beyond them is left out.
        output: int64 (r,), an output channel for each row of codes, whose group of input channels it takes.
        channels, outputs: C and D.
        kernel_size: kh, kw.
        stride, padding, dilation, groups: of the forward convolution.

    Returns:
        int32 (r, C / groups, kh, kw).
    """
    check_geometry(stride, padding, dilation)
    check_groups(channels, outputs, groups)
    check_words("x", x, 4, channels)
    check(codes.dtype == torch.uint8 and codes.dim() == 2, "codes must be uint8 with 2 dimensions")
    check(codes.shape[1] == index.shape[0], f"codes must have {index.shape[0]} columns, got {codes.shape[1]}")
    check(1 <= bits <= 8, f"bits must be 1 to 8, got {bits}")
    check(
        output.dtype == torch.int64
        and output.shape == codes.shape[:1]
        and (output.numel() == 0 or 0 <= int(output.min()) <= int(output.max()) < outputs),
        f"output must be int64 with one entry per row of codes, at least 0 and below {outputs}",
    )
    bound = MAX_CODE * codes.shape[1]
    check(bound <= INT32_MAX, f"{codes.shape[1]} products of 8-bit codes do not fit 32-bit sums; use a smaller batch")
    taps = _Taps(index, x.shape[0], x.shape[1:3], kernel_size, stride, padding, dilation)
    dtype = exact_dtype(bound)
    signs = unpack_sign(x.flatten(0, 2), channels).view(-1, groups, channels // groups)  # (N·H·W, groups, C)
    values, group = (codes & ((1 << bits) - 1)).to(dtype), output // (outputs // groups)
    result = x.new_zeros((codes.shape[0], channels // groups, *kernel_size), dtype=torch.int32)
    for kh in range(kernel_size[0]):
        for kw in range(kernel_size[1]):
            inside, at = taps.of(kh, kw)
            met = signs[at].to(dtype)
            for number in range(groups):
                own = group == number
                result[own, :, kh, kw] = (values[own][:, inside] @ met[:, number]).round().to(torch.int32)
    return result
