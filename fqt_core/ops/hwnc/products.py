"""The two backward products of fused chains, from codes to scaled floats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fqt_core.ops.backward import conv2d_input_gradient, conv2d_weight_gradient
from fqt_core.ops.geometry import check, check_geometry, check_words, output_sizes
from fqt_core.ops.hwnc.gradient import CODE_PADDING, check_index
from fqt_core.ops.packing import apply_window
from fqt_core.ops.registry import operation


def _check_codes(codes: Tensor, expected: Sequence[int]) -> None:
    check(codes.dtype == torch.uint8 and codes.dim() == 4, "codes must be uint8 with 4 dimensions")
    check(tuple(codes.shape) == tuple(expected), f"codes must have shape {tuple(expected)}, got {tuple(codes.shape)}")


def _check_affine(rows: int, scale: Tensor, offset: Tensor) -> None:
    for name, vector in (("scale", scale), ("offset", offset)):
        check(
            vector.dtype == torch.float32 and vector.shape == (rows,),
            f"{name} must be float32 with one entry for each of the {rows} groups",
        )


def _input_fake(
    codes: Tensor,
    weight: Tensor,
    channels: int,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    scale: Tensor,
    offset: Tensor,
    window: Tensor,
    index: Tensor,
) -> Tensor:
    del weight, stride, padding, dilation, offset, window, index
    return scale.new_empty((*size, codes.shape[2], channels))


@operation(
    "hwnc_input_gradient(Tensor codes, Tensor weight, int channels, int[2] size, int[2] stride, int[2] padding,"
    " int[2] dilation, Tensor scale, Tensor offset, Tensor window, Tensor index) -> Tensor",
    fake=_input_fake,
)
def hwnc_input_gradient(
    codes: Tensor,
    weight: Tensor,
    channels: int,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    scale: Tensor,
    offset: Tensor,
    window: Tensor,
    index: Tensor,
) -> Tensor:
    """dL/dX of the kept samples, after the straight-through window.

    ``scale_n · convT(q[n], Wb) + offset_n · convT(1, Wb)``: both products are exact integers, rounded to float32 once;
    each product with a scale and the addition round to float32 by themselves.

    Args:
        codes: uint8 (H', W', k, D).
        weight: int64 sign words (D, kh, kw, ceil(C / 64)); bits past the last channel are zero.
        channels: C.
        size: H, W.
        stride, padding, dilation: of the forward convolution.
        scale, offset: float32 (k,).
        window: int64 words (H, W, N, ceil(C / 64)) of all samples.
        index: int64 (k,), which sample each row of codes belongs to, rising.

    Returns:
        float32 (H, W, k, C).
    """
    check_geometry(stride, padding, dilation)
    check_words("weight", weight, 4, channels)
    kept = index.shape[0]
    _check_codes(codes, (*output_sizes(size, weight.shape[1:3], stride, padding, dilation), kept, weight.shape[0]))
    _check_affine(kept, scale, offset)
    check_words("window", window, 4, channels)
    check(tuple(window.shape[:2]) == tuple(size), f"window must have {size} pixels, got {tuple(window.shape[:2])}")
    check_index("index", index, window.shape[2])
    geometry = (channels, size, stride, padding, dilation, 1)
    product = conv2d_input_gradient(codes.permute(2, 0, 1, 3).contiguous(), weight, *geometry)
    ones = codes.new_ones((1, *codes.shape[:2], codes.shape[3]))
    constant = conv2d_input_gradient(ones, weight, *geometry).to(torch.float32)
    values = product.to(torch.float32) * scale.view(-1, 1, 1, 1) + constant * offset.view(-1, 1, 1, 1)
    inside = window.permute(2, 0, 1, 3)[index].contiguous()
    return apply_window(values, inside).permute(2, 3, 0, 1).contiguous()


def _weight_fake(
    x: Tensor,
    codes: Tensor,
    channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    scale: Tensor,
    offset: Tensor,
) -> Tensor:
    del x, stride, padding, dilation, offset
    return scale.new_empty((codes.shape[2], *kernel_size, channels))


@operation(
    "hwnc_weight_gradient(Tensor x, Tensor codes, int channels, int[2] kernel_size, int[2] stride, int[2] padding,"
    " int[2] dilation, Tensor scale, Tensor offset) -> Tensor",
    fake=_weight_fake,
)
def hwnc_weight_gradient(
    x: Tensor,
    codes: Tensor,
    channels: int,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    scale: Tensor,
    offset: Tensor,
) -> Tensor:
    """dL/dW of the kept output channels.

    ``scale_d · corr(q[d], Xb) + offset_d · corr(1, Xb)``, rounded as in :func:`hwnc_input_gradient`.

    Args:
        x: int64 sign words (H, W, N, ceil(C / 64)); bits past the last channel are zero.
        codes: uint8 (H', W', k, N'), N' = N rounded up to a multiple of 4; codes past N are 0.
        channels: C.
        kernel_size: kh, kw.
        stride, padding, dilation: of the forward convolution.
        scale, offset: float32 (k,).

    Returns:
        float32 (k, kh, kw, C), channels last.
    """
    check_geometry(stride, padding, dilation)
    check_words("x", x, 4, channels)
    samples = x.shape[2]
    kept = codes.shape[2] if codes.dim() == 4 else 0
    sizes = output_sizes(x.shape[:2], kernel_size, stride, padding, dilation)
    _check_codes(codes, (*sizes, kept, -(-samples // CODE_PADDING) * CODE_PADDING))
    _check_affine(kept, scale, offset)
    words = x.permute(2, 0, 1, 3).contiguous()
    rows = codes[..., :samples].permute(2, 3, 0, 1).contiguous()
    geometry = (kernel_size, stride, padding, dilation, 1)
    index = torch.arange(kept, dtype=torch.int64, device=x.device)
    product = conv2d_weight_gradient(words, rows, index, channels, max(kept, 1), *geometry)
    ones = codes.new_ones((1, *rows.shape[1:]))
    constant = conv2d_weight_gradient(words, ones, index.new_zeros(1), channels, 1, *geometry).to(torch.float32)
    values = product.to(torch.float32) * scale.view(-1, 1, 1, 1) + constant * offset.view(-1, 1, 1, 1)
    return values.permute(0, 2, 3, 1).contiguous()


def _add_rows_fake(target: Tensor, rows: Tensor, index: Tensor) -> None:
    del target, rows, index


@operation("hwnc_add_rows(Tensor(a!) target, Tensor rows, Tensor index) -> ()", fake=_add_rows_fake)
def hwnc_add_rows(target: Tensor, rows: Tensor, index: Tensor) -> None:
    """Add the gradient of some samples to that of all, in place: how the two ways into a shortcut's fork meet.

    Args:
        target: float32 (H, W, N, C).
        rows: float32 (H, W, k, C).
        index: int64 (k,), which sample each row belongs to, rising.
    """
    check(target.dtype == rows.dtype == torch.float32, "target and rows must be float32")
    check(target.dim() == 4, "target must have 4 dimensions")
    check_index("index", index, target.shape[2])
    expected = (*target.shape[:2], index.shape[0], target.shape[3])
    check(tuple(rows.shape) == expected, f"rows must have shape {expected}, got {tuple(rows.shape)}")
    target[:, :, index] += rows
