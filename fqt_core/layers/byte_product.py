"""The three products of a layer that multiplies bytes, with their scales; a linear layer's input is one pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.quantizers.byte_gradients import ByteCodes


def channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W) as contiguous (N, H, W, C); without a copy if it lies so already."""
    return x.permute(0, 2, 3, 1).contiguous()


def scaled_sums(sums: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """int32 (N, H', W', D) to float32 (N, D, H', W'), channels last in memory: ``sums * scale + bias``.

    No view of another tensor: what a custom function returns may be changed in place only then, as a ReLU does.
    """
    result = torch.empty_like(sums.permute(0, 3, 1, 2), dtype=torch.float32)
    values = result.permute(0, 2, 3, 1)
    torch.mul(sums, scale, out=values)
    if bias is not None:
        values.add_(bias)
    return result


def _rows(values: Tensor, result: Tensor) -> Tensor:
    """One value per row, or one for all, as a factor of ``result``."""
    return values.view(-1, *[1] * (result.dim() - 1))


@dataclass(frozen=True)
class ByteProduct:
    """Geometry; activations are int8 (N, H, W, C), weights int8 (D, kh, kw, C)."""

    operations: ClassVar[tuple[str, ...]] = ("int8_conv2d", "int8_input_gradient", "int8_weight_gradient")

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    def forward(self, x: Tensor, weight: Tensor, *, fill: int = 0) -> Tensor:
        """int32 (N, H', W', D)."""
        return ops.int8_conv2d(x, weight, fill, self.stride, self.padding, self.dilation)

    def input_gradient(self, g: ByteCodes, weight: Tensor, weight_scale: Tensor, size: torch.Size) -> Tensor:
        """dL/dX: float32 (N, C, H, W); ``size``: H, W."""
        result = self._transposed(g.codes, weight, size).to(torch.float32).mul_(_rows(g.scale, weight))
        if g.offset is not None:
            constant = self._transposed(torch.ones_like(g.codes[:1]), weight, size).to(torch.float32)
            result.add_(_rows(g.offset, weight) * constant)
        result = result.mul_(weight_scale)
        if g.blocks is not None:
            result = g.blocks.separate(result)
        return result.permute(0, 3, 1, 2)

    def weight_gradient(self, g: ByteCodes, x: Tensor, x_scale: Tensor, size: torch.Size) -> Tensor:
        """dL/dW: float32 (D, C, kh, kw); ``size``: kh, kw."""
        result = self._correlated(x, g.codes, size).to(torch.float32).mul_(_rows(g.scale, x))
        if g.offset is not None:
            constant = self._correlated(x, torch.ones_like(g.codes[:1]), size).to(torch.float32)
            result.add_(_rows(g.offset, x) * constant)
        return result.mul_(x_scale).permute(0, 3, 1, 2)

    def _transposed(self, codes: Tensor, weight: Tensor, size: torch.Size) -> Tensor:
        return ops.int8_input_gradient(codes, weight, size, self.stride, self.padding, self.dilation)

    def _correlated(self, x: Tensor, codes: Tensor, size: torch.Size) -> Tensor:
        return ops.int8_weight_gradient(x, codes, size, self.stride, self.padding, self.dilation)
