"""The two backward products: integer gradient codes times ±1, 32-bit integer results.

Only kept groups come in, gathered, so pruning saves the work. The zero points' terms are these same products with all
codes 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fqt_core.ops import convolution
from fqt_core.ops.forward import check_groups, exact_dtype
from fqt_core.ops.geometry import INT32_MAX, check, check_geometry, check_words, output_sizes
from fqt_core.ops.packing import unpack_sign
from fqt_core.ops.registry import operation

MAX_CODE = 255


def _check_bound(terms: int) -> int:
    """The largest magnitude that a sum of ``terms`` products can have; it must fit int32."""
    bound = MAX_CODE * terms
    check(bound <= INT32_MAX, f"{terms} products of 8-bit codes do not fit 32-bit sums; use a smaller batch")
    return bound


def _input_gradient_fake(
    codes: Tensor,
    weight: Tensor,  # noqa: ARG001 - the operation's signature
    channels: int,
    input_size: Sequence[int],
    stride: Sequence[int],  # noqa: ARG001
    padding: Sequence[int],  # noqa: ARG001
    dilation: Sequence[int],  # noqa: ARG001
    groups: int,  # noqa: ARG001
) -> Tensor:
    return codes.new_empty((codes.shape[0], channels, *input_size), dtype=torch.int32)


@operation(
    "conv2d_input_gradient(Tensor codes, Tensor weight, int channels, int[2] input_size, int[2] stride, int[2] padding,"
    " int[2] dilation, int groups) -> Tensor",
    fake=_input_gradient_fake,
)
def conv2d_input_gradient(
    codes: Tensor,
    weight: Tensor,
    channels: int,
    input_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """convT(q, Wb): the product that gives dL/dX, for the kept samples.

    Args:
        codes: uint8 (k, H', W', D), channels last; one row per kept sample.
        weight: int64 sign words (D, kh, kw, ceil(C / groups / 64)).
        channels: C.
        input_size: H, W.
        stride, padding, dilation, groups: of the forward convolution.

    Returns:
        int32 (k, C, H, W).
    """
    check_geometry(stride, padding, dilation)
    check(codes.dtype == torch.uint8 and codes.dim() == 4, "codes must be uint8 with 4 dimensions")
    check_groups(channels, weight.shape[0], groups)
    check_words("weight", weight, 4, channels // groups)
    expected = output_sizes(input_size, weight.shape[1:3], stride, padding, dilation)
    check(
        tuple(codes.shape[1:]) == (*expected, weight.shape[0]),
        f"codes must have shape (k, {expected[0]}, {expected[1]}, {weight.shape[0]}), got {tuple(codes.shape)}",
    )
    dtype = exact_dtype(_check_bound(weight.shape[0] // groups * weight.shape[1] * weight.shape[2]))
    size = (codes.shape[0], channels, *input_size)
    if codes.shape[0] == 0:
        return codes.new_zeros(size, dtype=torch.int32)
    result = convolution.input_gradient(
        size,
        unpack_sign(weight, channels // groups).to(dtype),
        codes.to(dtype).permute(0, 3, 1, 2),
        stride,
        padding,
        dilation,
        groups,
    )
    return result.round().to(torch.int32).contiguous()


def _weight_gradient_fake(
    x: Tensor,
    codes: Tensor,
    index: Tensor,  # noqa: ARG001 - the operation's signature
    channels: int,
    outputs: int,  # noqa: ARG001
    kernel_size: Sequence[int],
    stride: Sequence[int],  # noqa: ARG001
    padding: Sequence[int],  # noqa: ARG001
    dilation: Sequence[int],  # noqa: ARG001
    groups: int,
) -> Tensor:
    return x.new_empty((codes.shape[0], channels // groups, *kernel_size), dtype=torch.int32)


@operation(
    "conv2d_weight_gradient(Tensor x, Tensor codes, Tensor index, int channels, int outputs, int[2] kernel_size,"
    " int[2] stride, int[2] padding, int[2] dilation, int groups) -> Tensor",
    fake=_weight_gradient_fake,
)
def conv2d_weight_gradient(
    x: Tensor,
    codes: Tensor,
    index: Tensor,
    channels: int,
    outputs: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """corr(q, Xb): the product that gives dL/dW, for the kept output channels.

    Args:
        x: int64 sign words (N, H, W, ceil(C / 64)).
        codes: uint8 (k, N, H', W'); one row per kept output channel.
        index: int64 (k,), which output channel each row is (it decides the group of input channels).
        channels, outputs: C and D.
        kernel_size: kh, kw.
        stride, padding, dilation, groups: of the forward convolution.

    Returns:
        int32 (k, C / groups, kh, kw).
    """
    check_geometry(stride, padding, dilation)
    check_groups(channels, outputs, groups)
    check_words("x", x, 4, channels)
    check(codes.dtype == torch.uint8 and codes.dim() == 4, "codes must be uint8 with 4 dimensions")
    expected = output_sizes(x.shape[1:3], kernel_size, stride, padding, dilation)
    check(
        tuple(codes.shape[1:]) == (x.shape[0], *expected),
        f"codes must have shape (k, {x.shape[0]}, {expected[0]}, {expected[1]}), got {tuple(codes.shape)}",
    )
    check(
        index.dtype == torch.int64 and index.shape == codes.shape[:1],
        "index must be int64 with one entry per row of codes",
    )
    check(
        index.numel() == 0 or 0 <= int(index.min()) <= int(index.max()) < outputs,
        f"index must be at least 0 and below {outputs}",
    )
    dtype = exact_dtype(_check_bound(x.shape[0] * expected[0] * expected[1]))
    per_group, kept = channels // groups, codes.shape[0]
    if kept == 0 or x.shape[0] == 0:
        return codes.new_zeros((kept, per_group, *kernel_size), dtype=torch.int32)
    signs = unpack_sign(x, channels).to(dtype)
    if groups > 1:
        # Each kept channel correlates with its own group of inputs: gather those, and every row is a group by itself.
        first = index // (outputs // groups) * per_group
        signs = signs[:, (first[:, None] + torch.arange(per_group, device=x.device)).flatten()]
    result = convolution.weight_gradient(
        signs,
        [kept, per_group, *kernel_size],
        codes.to(dtype).transpose(0, 1),
        stride,
        padding,
        dilation,
        1 if groups == 1 else kept,
    )
    return result.round().to(torch.int32).contiguous()
