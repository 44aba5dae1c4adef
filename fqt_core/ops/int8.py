"""The three products of a layer whose operands are all bytes: exact integer sums, for methods that train in INT8.

Layouts have channels last: a tap outside of the image is then whole rows of channels that are read as ``fill``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.ops import convolution
from fqt_core.ops.forward import exact_dtype
from fqt_core.ops.geometry import INT32_MAX, check, check_geometry, output_sizes
from fqt_core.ops.registry import operation

_MOST_PRODUCT = 128 * 128
MOST_BYTE_TERMS = INT32_MAX // _MOST_PRODUCT
"""The most products of bytes that a 32-bit sum holds whatever they are."""

_FEWEST, _MOST = -128, 127


def _check_bytes(name: str, tensor: Tensor) -> None:
    check(tensor.dtype == torch.int8 and tensor.dim() == 4, f"{name} must be int8 with 4 dimensions")


def _bound(terms: int) -> int:
    """The largest magnitude of a sum of ``terms`` products of bytes; it must fit int32."""
    bound = _MOST_PRODUCT * terms
    check(bound <= INT32_MAX, f"{terms} products of bytes do not fit 32-bit sums")
    return bound


def _check_fit(size: Sequence[int]) -> None:
    check(min(size) >= 1, "the kernel does not fit the input")


def _channels_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes (N, H, W, C) as numbers (N, C, H, W), in memory too.

    Of one channel that is said to lie innermost, oneDNN's convolution in float32 (PyTorch 2.13, AVX-512) makes wrong
    sums where the output is one pixel wide and the stride is not 1.
    """
    return x.permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format)


def _conv_fake(
    x: Tensor,
    weight: Tensor,
    fill: int,  # noqa: ARG001 - the operation's signature
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    height, width = output_sizes(x.shape[1:3], weight.shape[1:3], stride, padding, dilation)
    return x.new_empty((x.shape[0], height, width, weight.shape[0]), dtype=torch.int32)


@operation(
    "int8_conv2d(Tensor x, Tensor weight, int fill, int[2] stride, int[2] padding, int[2] dilation) -> Tensor",
    fake=_conv_fake,
)
def int8_conv2d(
    x: Tensor, weight: Tensor, fill: int, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> Tensor:
    """Convolve bytes with bytes.

    Args:
        x: int8 (N, H, W, C).
        weight: int8 (D, kh, kw, C), at most 131,071 elements per output channel.
        fill: -128 to 127, what a tap outside of the image reads.
        stride, padding, dilation: two numbers each, height first.

    Returns:
        int32 (N, H', W', D), exact.
    """
    _check_bytes("x", x)
    _check_bytes("weight", weight)
    check_geometry(stride, padding, dilation)
    check(_FEWEST <= fill <= _MOST, f"fill must be -128 to 127, got {fill}")
    check(x.shape[3] == weight.shape[3], f"x has {x.shape[3]} channels, the weight {weight.shape[3]}")
    _check_fit(output_sizes(x.shape[1:3], weight.shape[1:3], stride, padding, dilation))
    dtype = exact_dtype(_bound(weight[:1].numel()))
    top, left = padding
    padded = functional.pad(_channels_first(x, dtype), (left, left, top, top), value=float(fill))
    weights = _channels_first(weight, dtype)
    result = functional.conv2d(padded, weights, None, list(stride), 0, list(dilation))
    return result.round().to(torch.int32).permute(0, 2, 3, 1).contiguous()


def _input_fake(
    codes: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    stride: Sequence[int],  # noqa: ARG001 - the operation's signature
    padding: Sequence[int],  # noqa: ARG001
    dilation: Sequence[int],  # noqa: ARG001
) -> Tensor:
    return codes.new_empty((codes.shape[0], *input_size, weight.shape[3]), dtype=torch.int32)


@operation(
    "int8_input_gradient(Tensor codes, Tensor weight, int[2] input_size, int[2] stride, int[2] padding,"
    " int[2] dilation) -> Tensor",
    fake=_input_fake,
)
def int8_input_gradient(
    codes: Tensor,
    weight: Tensor,
    input_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """convT(codes, weight): the product that gives dL/dX.

    Args:
        codes: int8 (N, H', W', D).
        weight: int8 (D, kh, kw, C); D · kh · kw is at most 131,071.
        input_size: H, W.
        stride, padding, dilation: of the forward convolution.

    Returns:
        int32 (N, H, W, C), exact.
    """
    _check_bytes("codes", codes)
    _check_bytes("weight", weight)
    check_geometry(stride, padding, dilation)
    check(len(input_size) == 2 and min(input_size) >= 1, "input_size must be two numbers of at least 1")
    expected = output_sizes(input_size, weight.shape[1:3], stride, padding, dilation)
    _check_fit(expected)
    check(
        tuple(codes.shape[1:]) == (*expected, weight.shape[0]),
        f"codes must have shape (N, {expected[0]}, {expected[1]}, {weight.shape[0]}), got {tuple(codes.shape)}",
    )
    outputs, height, width, channels = weight.shape
    dtype = exact_dtype(_bound(outputs * height * width))
    size = (codes.shape[0], channels, *input_size)
    if codes.numel() == 0 or channels == 0:
        return codes.new_zeros((codes.shape[0], *input_size, channels), dtype=torch.int32)
    arguments = _channels_first(weight, dtype), _channels_first(codes, dtype), stride, padding, dilation
    result = convolution.input_gradient(size, *arguments, 1)
    return result.round().to(torch.int32).permute(0, 2, 3, 1).contiguous()


def _weight_fake(
    x: Tensor,
    codes: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],  # noqa: ARG001 - the operation's signature
    padding: Sequence[int],  # noqa: ARG001
    dilation: Sequence[int],  # noqa: ARG001
) -> Tensor:
    return x.new_empty((codes.shape[0], *kernel_size, x.shape[3]), dtype=torch.int64)


@operation(
    "int8_weight_gradient(Tensor x, Tensor codes, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation)"
    " -> Tensor",
    fake=_weight_fake,
)
def int8_weight_gradient(
    x: Tensor,
    codes: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """corr(codes, x): the product that gives dL/dW. A tap outside of the image contributes nothing.

    Args:
        x: int8 (N, H, W, C).
        codes: int8 (D, N, H', W'), a row for each output channel.
        kernel_size: kh, kw.
        stride, padding, dilation: of the forward convolution.

    Returns:
        int64 (D, kh, kw, C), exact: so many pixels may be summed that 32 bits would not hold them.
    """
    _check_bytes("x", x)
    _check_bytes("codes", codes)
    check_geometry(stride, padding, dilation)
    check(len(kernel_size) == 2 and min(kernel_size) >= 1, "kernel_size must be two numbers of at least 1")
    expected = output_sizes(x.shape[1:3], kernel_size, stride, padding, dilation)
    _check_fit(expected)
    check(
        tuple(codes.shape[1:]) == (x.shape[0], *expected),
        f"codes must have shape (D, {x.shape[0]}, {expected[0]}, {expected[1]}), got {tuple(codes.shape)}",
    )
    outputs, channels = codes.shape[0], x.shape[3]
    if codes.numel() == 0 or channels == 0:
        return x.new_zeros((outputs, *kernel_size, channels), dtype=torch.int64)
    dtype = exact_dtype(_MOST_PRODUCT * codes[0].numel())
    images, gradient = _channels_first(x, dtype), codes.transpose(0, 1).to(dtype)
    size = (outputs, channels, *kernel_size)
    result = convolution.weight_gradient(images, size, gradient, stride, padding, dilation, 1)
    return result.round().to(torch.int64).permute(0, 2, 3, 1).contiguous()
