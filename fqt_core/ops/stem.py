"""The full-precision convolution before a chain, without its output, which is the largest tensor of a network.

Forward, outputs become bits, and floats only where a shortcut wants them, as soon as they are there. Backward through
the convolution and the normalisation behind it needs M = Σ u uᵀ and Σ g uᵀ alone (:mod:`fqt_core.fused.linear`), with u
the inputs of an output less the origin of their channel, and a 1 as the last.

The order of each sum of floats is fixed, so that all instruction sets and numbers of threads give the same bits;
products are rounded before they are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fqt_core.ops.geometry import check, check_geometry, output_sizes
from fqt_core.ops.hwnc.forward import check_channel_vectors
from fqt_core.ops.hwnc.gradient import ROWS_PER_SUM, check_rows
from fqt_core.ops.patches import image_patches
from fqt_core.ops.registry import OPERATIONS, operation

LANES = 16
"""Sums that the products of consecutive outputs go to by turns, for second moments."""

_REFERENCE_BYTES = 4 << 20


def serves(tensor: Tensor) -> bool:
    """Whether these operations are for a tensor's device; see :data:`fqt_core.ops.native.CPU_ONLY`."""
    return tensor.is_cpu


def _moments_fake(
    images: Tensor,
    origin: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    del origin, stride, padding, dilation
    inputs = images.shape[1] * kernel_size[0] * kernel_size[1] + 1
    return images.new_empty((inputs, inputs), dtype=torch.float64)


@operation(
    "stem_moments(Tensor images, Tensor origin, int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation)"
    " -> Tensor",
    fake=_moments_fake,
)
def stem_moments(
    images: Tensor,
    origin: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """M = Σ u uᵀ over all outputs, whose inputs u are those of :func:`fqt_core.ops.patches.image_patches`.

    The order of summation: of each image, 1024 outputs at a time. The first of them, the 17th, the 33rd, … are added
    one after the other in float32, so are the second, the 18th, …; to the first eight of these 16 sums the last eight
    are added, to the first four of what comes out the last four, and so on. The sums of 1024 outputs are added one
    after the other in float64.

    Args:
        images: float32 (N, C, H, W), not empty.
        origin: float32 (C,).
        kernel_size, stride, padding, dilation: of the convolution, which has one group and is padded with zeros.

    Returns:
        float64 (C · kh · kw + 1, C · kh · kw + 1), inputs in the order of the weight.
    """
    geometry = (kernel_size, stride, padding, dilation)
    pixels = _check_images(images, origin, *geometry)
    inputs = images.shape[1] * kernel_size[0] * kernel_size[1] + 1
    result = images.new_zeros((1, inputs, inputs), dtype=torch.float64)
    for part in _parts(len(images), 4 * LANES * inputs * inputs):
        u = image_patches(images[part], origin, *geometry)
        found = []
        for first in range(0, pixels, LANES * ROWS_PER_SUM):
            some = u[:, :, first : first + LANES * ROWS_PER_SUM]
            lanes = _in_rows(some, LANES)
            sums = _sum_of_outer_products(lanes, lanes, 2).view(inputs, inputs, len(u), LANES)
            while sums.shape[3] > 1:
                one, other = sums.chunk(2, 3)
                sums = one + other
            found.append(sums.squeeze(3))
        result = _added(result, torch.stack(found, 3).flatten(2).permute(2, 0, 1))
    return result[0]


def _products_fake(
    images: Tensor,
    origin: Tensor,
    g: Tensor,
    index: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    del origin, index, stride, padding, dilation
    inputs = images.shape[1] * kernel_size[0] * kernel_size[1] + 1
    return images.new_empty((g.shape[3], inputs), dtype=torch.float64)


@operation(
    "stem_products(Tensor images, Tensor origin, Tensor g, Tensor index, int[2] kernel_size, int[2] stride,"
    " int[2] padding, int[2] dilation) -> Tensor",
    fake=_products_fake,
)
def stem_products(
    images: Tensor,
    origin: Tensor,
    g: Tensor,
    index: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Σ g uᵀ over the outputs of the samples that are there, u as in :func:`stem_moments`.

    The order of summation: of each sample, 64 consecutive outputs are added one after the other in float32, and these
    sums one after the other in float64; then the samples' sums.

    Args:
        images: float32 (N, C, H, W), not empty.
        origin: float32 (C,).
        g: float32 (H', W', k, D).
        index: int64 (k,), which sample each row of g belongs to, rising.
        kernel_size, stride, padding, dilation: as of :func:`stem_moments`.

    Returns:
        float64 (D, C · kh · kw + 1), inputs in the order of the weight.
    """
    geometry = (kernel_size, stride, padding, dilation)
    pixels = _check_images(images, origin, *geometry)
    check(g.dim() == 4, "g must have 4 dimensions")
    check_rows(g, index, (*output_sizes(images.shape[2:], *geometry), len(images), g.shape[3]))
    inputs = images.shape[1] * kernel_size[0] * kernel_size[1] + 1
    result = images.new_zeros((1, g.shape[3], inputs), dtype=torch.float64)
    pieces = -(-pixels // ROWS_PER_SUM)
    for part in _parts(len(index), 4 * pieces * inputs * g.shape[3]):
        u = image_patches(images[index[part]], origin, *geometry)
        rows = g[:, :, part].flatten(0, 1).permute(1, 2, 0)
        sums = _sum_of_outer_products(_in_rows(rows, ROWS_PER_SUM), _in_rows(u, ROWS_PER_SUM), 3)
        sums = sums.view(g.shape[3], inputs, len(u), pieces).permute(3, 2, 0, 1)
        result = _added(result, _added(torch.zeros_like(sums[:1], dtype=torch.float64), sums)[0])
    return result[0]


def _in_rows(x: Tensor, length: int) -> Tensor:
    """The last axis of float32 (n, A, pixels), filled up with zeros, as rows: (n, A, rows, length)."""
    return functional.pad(x, (0, -x.shape[2] % length)).reshape(*x.shape[:2], -1, length)


def _sum_of_outer_products(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Products of float32 (n, A, …) and (n, B, …), added one after the other along ``dim``: (A, B, all other axes)."""
    one, other = (x.movedim(dim, 0).transpose(1, 2).flatten(2).contiguous() for x in (one, other))
    sums = one.new_zeros((one.shape[1], other.shape[1], one.shape[2]))
    product = torch.empty_like(sums)
    for left, right in zip(one, other, strict=True):
        sums += torch.mul(left.unsqueeze(1), right, out=product)
    return sums


def _enter_fake(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    sign: Tensor,
    window: Tensor,
    h: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> None:
    del images, weight, bias, a, b, sign, window, h, stride, padding, dilation


@operation(
    "stem_enter(Tensor images, Tensor weight, Tensor? bias, Tensor a, Tensor b, Tensor(a!) sign, Tensor(b!) window,"
    " Tensor(c!)? h, int[2] stride, int[2] padding, int[2] dilation) -> ()",
    fake=_enter_fake,
)
def stem_enter(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    a: Tensor,
    b: Tensor,
    sign: Tensor,
    window: Tensor,
    h: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> None:
    """The convolution y of the images, then what :func:`fqt_core.ops.hwnc_enter` makes of ``a · y + b``.

    Each y starts from the bias, or from 0; to it the products of weight and input, 0 in the padding, are added one
    after the other in float32, in the order of the weight.

    Args:
        images: float32 (N, C, H, W), not empty.
        weight: float32 (D, C, kh, kw).
        bias: float32 (D,), if there is one.
        a, b: float32 (D,).
        sign, window: for the bits ``h >= 0`` and ``|h| < 1``, int64 words (H', W', N, ceil(D / 64)).
        h: for the floats, float32 (H', W', N, D), if they are wanted.
        stride, padding, dilation: of the convolution, which has one group and is padded with zeros.
    """
    check(weight.dtype == torch.float32 and weight.dim() == 4, "weight must be float32 with 4 dimensions")
    geometry = (weight.shape[2:], stride, padding, dilation)
    origin = images.new_zeros(images.shape[1:2])
    pixels = _check_images(images, origin, *geometry)
    outputs, channels = weight.shape[:2]
    check(channels == images.shape[1], f"weight must take {images.shape[1]} channels, got {channels}")
    check(sign.dim() == 4 and sign.shape[2] == len(images), f"sign must be of {len(images)} samples")
    start = images.new_zeros(outputs) if bias is None else bias
    check_channel_vectors(outputs, bias=start)
    height, width = output_sizes(images.shape[2:], *geometry)
    taps = weight.flatten(1).t()
    for part in _parts(len(images), 4 * pixels * outputs):
        u = image_patches(images[part], origin, *geometry)[:, :-1]
        y = start.expand(len(u), pixels, outputs).clone()
        for tap, values in zip(taps, u.unbind(1), strict=True):
            y += tap * values.unsqueeze(2)
        y = y.view(len(u), height, width, outputs)
        OPERATIONS["hwnc_enter"].reference(y, a, b, sign, window, h, part.start)


def _check_images(
    images: Tensor,
    origin: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> int:
    """Refuse what no convolution takes; returns the outputs of an image."""
    check(images.dtype == torch.float32 and images.dim() == 4, "images must be float32 with 4 dimensions")
    check(images.numel() > 0, f"images is empty: shape {tuple(images.shape)}")
    check_channel_vectors(images.shape[1], origin=origin)
    check_geometry(stride, padding, dilation)
    check(len(kernel_size) == 2 and min(kernel_size) >= 1, "kernel_size must be two numbers of at least 1")
    height, width = output_sizes(images.shape[2:], kernel_size, stride, padding, dilation)
    check(min(height, width) >= 1, f"the kernel does not fit images of {tuple(images.shape[2:])} pixels")
    return height * width


def _parts(samples: int, bytes_each: int) -> Iterator[slice]:
    """Slices of so many samples that the sums of one need not much memory."""
    size = max(1, _REFERENCE_BYTES // max(1, bytes_each))
    return (slice(first, min(first + size, samples)) for first in range(0, samples, size))


def _added(start: Tensor, terms: Tensor) -> Tensor:
    """float64 (1, …) and terms (n, …), added one after the other in float64."""
    return torch.cat([start, terms.double()]).cumsum(0)[-1:]
