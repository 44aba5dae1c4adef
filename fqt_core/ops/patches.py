"""What each output of a convolution is made from, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from fqt_core.ops.geometry import output_sizes


def image_patches(
    images: Tensor,
    origin: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """The inputs of each output of a convolution, less the origin of their channel; and a 1 as the last.

    Args:
        images: float32 (N, C, H, W).
        origin: float32 (C,). It is taken from the padding as well, so that all outputs change by the same.
        kernel_size, stride, padding, dilation: of the convolution, which has one group and is padded with zeros.

    Returns:
        float32 (N, C · kh · kw + 1, H' · W'), inputs in the order of the weight.
    """
    top, left = padding
    padded = functional.pad(images, (left, left, top, top)).contiguous().sub_(origin.view(-1, 1, 1))
    samples, channels = padded.shape[:2]
    height, width = output_sizes(padded.shape[2:], kernel_size, stride, (0, 0), dilation)
    across_samples, across_channels, down, right = padded.stride()
    windows = padded.as_strided(
        (samples, channels, *kernel_size, height, width),
        (
            across_samples,
            across_channels,
            down * dilation[0],
            right * dilation[1],
            down * stride[0],
            right * stride[1],
        ),
    )
    inputs = channels * kernel_size[0] * kernel_size[1]
    result = padded.new_empty((samples, inputs + 1, height * width))
    result[:, inputs] = 1
    result[:, :inputs].view(windows.shape).copy_(windows)
    return result
