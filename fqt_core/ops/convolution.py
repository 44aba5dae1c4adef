"""torch's own gradients of a convolution, typed; the references and the full-precision gradients use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor
from torch.nn import grad


def input_gradient(
    size: Sequence[int],
    weight: Tensor,
    gradient: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """dL/dX of shape ``size`` (N, C, H, W) from G (N, D, H', W') and a weight (D, C / groups, kh, kw)."""
    arguments = (list(stride), list(padding), list(dilation), groups)
    return cast("Tensor", grad.conv2d_input(list(size), weight, gradient, *arguments))  # type: ignore[no-untyped-call]


def weight_gradient(
    x: Tensor,
    size: Sequence[int],
    gradient: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """dL/dW of shape ``size`` (D, C / groups, kh, kw) from G (N, D, H', W') and x (N, C, H, W)."""
    arguments = (list(stride), list(padding), list(dilation), groups)
    return cast("Tensor", grad.conv2d_weight(x, list(size), gradient, *arguments))  # type: ignore[no-untyped-call]
