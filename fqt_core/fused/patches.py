"""What each output of a convolution is made from, side by side."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from fqt_core.ops.geometry import output_sizes


def image_patches(conv: nn.Conv2d, images: Tensor, origin: Tensor) -> Tensor:
    """The inputs of each output of ``conv``, less the origin of their channel; and a 1 as the last.

    Args:
        conv: one group, padding with zeros.
        images: float32 (N, C, H, W).
        origin: float32 (C, 1, 1). It is taken from the padding as well, so that all outputs change by the same.

    Returns:
        float32 (N, C · kh · kw + 1, H' · W'), inputs in the order of the weight.
    """
    top, left = (int(side) for side in conv.padding)
    padded = functional.pad(images, (left, left, top, top)).contiguous().sub_(origin)
    samples, channels = padded.shape[:2]
    height, width = output_sizes(padded.shape[2:], conv.kernel_size, conv.stride, (0, 0), conv.dilation)
    across_samples, across_channels, down, right = padded.stride()
    windows = padded.as_strided(
        (samples, channels, *conv.kernel_size, height, width),
        (
            across_samples,
            across_channels,
            down * conv.dilation[0],
            right * conv.dilation[1],
            down * conv.stride[0],
            right * conv.stride[1],
        ),
    )
    inputs = channels * conv.kernel_size[0] * conv.kernel_size[1]
    result = padded.new_empty((samples, inputs + 1, height * width))
    result[:, inputs] = 1
    result[:, :inputs].view(windows.shape).copy_(windows)
    return result
