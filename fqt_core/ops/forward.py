"""The forward products: one bit times one bit, 32-bit integer results."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.ops.geometry import EXACT_FLOAT32, check, check_geometry, check_words, output_sizes
from fqt_core.ops.packing import unpack_sign
from fqt_core.ops.registry import operation


def exact_dtype(bound: int) -> torch.dtype:
    """The float type whose sums are exact when their terms' magnitudes add up to at most ``bound`` (below 2**53)."""
    return torch.float32 if bound <= EXACT_FLOAT32 else torch.float64


def check_groups(channels: int, outputs: int, groups: int) -> None:
    """Refuse a number of groups that does not divide both channel counts."""
    check(
        groups >= 1 and channels % groups == 0 and outputs % groups == 0,
        f"groups={groups} must divide the {channels} input and {outputs} output channels",
    )


def _conv_fake(
    x: Tensor,
    weight: Tensor,
    channels: int,  # noqa: ARG001 - the operation's signature
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,  # noqa: ARG001
) -> Tensor:
    height, width = output_sizes(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    return x.new_empty((x.shape[0], weight.shape[0], height, width), dtype=torch.int32)


@operation(
    "binary_conv2d(Tensor x, Tensor weight, int channels, int[2] stride, int[2] padding, int[2] dilation, int groups)"
    " -> Tensor",
    fake=_conv_fake,
)
def binary_conv2d(
    x: Tensor,
    weight: Tensor,
    channels: int,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Convolve ±1 inputs with ±1 weights. Padding is exact: a tap outside the input contributes nothing.

    Args:
        x: int64 sign words (N, H, W, ceil(C / 64)).
        weight: int64 sign words (D, kh, kw, ceil(C / groups / 64)).
        channels: C.
        stride, padding, dilation: two numbers each, height first.
        groups: divides C and D.

    Returns:
        int32 (N, D, H', W'), each in [-K, K] with K = C / groups * kh * kw.
    """
    check_geometry(stride, padding, dilation)
    check_words("x", x, 4, channels)
    check_groups(channels, weight.shape[0], groups)
    check_words("weight", weight, 4, channels // groups)
    height, width = output_sizes(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    check(height >= 1 and width >= 1, f"the kernel does not fit an input of {x.shape[1]}x{x.shape[2]} pixels")
    dtype = exact_dtype(channels // groups * weight.shape[1] * weight.shape[2])
    signs, weights = unpack_sign(x, channels).to(dtype), unpack_sign(weight, channels // groups).to(dtype)
    result = functional.conv2d(signs, weights, None, list(stride), list(padding), list(dilation), groups)
    return result.round().to(torch.int32).contiguous()


def _linear_fake(x: Tensor, weight: Tensor, features: int) -> Tensor:  # noqa: ARG001 - the operation's signature
    return x.new_empty((x.shape[0], weight.shape[0]), dtype=torch.int32)


@operation("binary_linear(Tensor x, Tensor weight, int features) -> Tensor", fake=_linear_fake)
def binary_linear(x: Tensor, weight: Tensor, features: int) -> Tensor:
    """Multiply ±1 rows with a ±1 matrix.

    Args:
        x: int64 sign words (N, ceil(C / 64)).
        weight: int64 sign words (D, ceil(C / 64)).
        features: C.

    Returns:
        int32 (N, D), each in [-C, C].
    """
    check_words("x", x, 2, features)
    check_words("weight", weight, 2, features)
    dtype = exact_dtype(features)
    result = unpack_sign(x, features).to(dtype) @ unpack_sign(weight, features).to(dtype).T
    return result.round().to(torch.int32)
