"""The three products of a binarised layer, for convolutions and for linear layers, behind one interface.

Shapes below are a convolution's; a linear layer has no spatial axes: x (N, C), G (N, D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.ops import convolution, native

Outside: TypeAlias = "tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]"
"""Scale, offset, dither and sign of :func:`fqt_core.ops.pixel_input_gradient`."""


class Product(Protocol):
    """What the autograd function needs to know of a layer's product."""

    @property
    def operations(self) -> tuple[str, ...]:
        """Names of the operations that compute the three products."""

    @property
    def portable_because(self) -> str:
        """Why a product runs on portable kernels although its operation has faster ones; empty if it does not."""

    @property
    def channels(self) -> int:
        """Input channels C."""

    @property
    def weight_channels(self) -> int:
        """Input channels that one output channel sees, C / groups."""

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Sign words of x and of the weight to int32 (N, D, H', W')."""

    def input_gradient(self, codes: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """Codes (k, H', W', D) and sign words of the weight to int32 (k, C, H, W); ``x``: sign words, for the size."""

    def input_constant(self, weight: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """convT(1, Wb): int32 (1, C, H, W); ``x`` and ``gradient`` for the sizes."""

    def weight_gradient(self, codes: Tensor, index: Tensor, x: Tensor) -> Tensor:
        """Codes (k, N, H', W') of the channels ``index`` and sign words of x to int32 (k, C / groups, kh, kw)."""

    def weight_constant(self, index: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """corr(1, Xb) for the output channels ``index``: int32 (k or 1, C / groups, kh, kw)."""

    def pixel_input_gradient(
        self, codes: Tensor, bits: int, index: Tensor, outside: Outside, weight: Tensor, x: Tensor
    ) -> Tensor:
        """Codes (k, D) of pixel rows ``index`` to float32 (N, C, H, W); :func:`fqt_core.ops.pixel_input_gradient`."""

    def pixel_weight_gradient(self, codes: Tensor, bits: int, index: Tensor, output: Tensor, x: Tensor) -> Tensor:
        """Codes (r, k) to int32 (r, C / groups, kh, kw); see :func:`fqt_core.ops.pixel_weight_gradient`."""

    def float_input_gradient(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The same product with a float32 gradient (n, D, H', W'): float32 (n, C, H, W)."""

    def float_weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """The same product with a float32 gradient (n, D, H', W'): float32 (D, C / groups, kh, kw); x has n rows."""


PIXEL_OPERATIONS = ("pixel_input_gradient", "pixel_weight_gradient")


def operations_of(product: Product, *, pixel_rows: bool = False) -> tuple[str, ...]:
    """The operations that compute the three products.

    ``pixel_rows``: gradients are quantised by pixel rows, whose backward products are operations of their own.
    """
    return (product.operations[0], *PIXEL_OPERATIONS) if pixel_rows else product.operations


def isa_of(product: Product, *, pixel_rows: bool = False) -> str:
    """Of the instruction sets that compute the three products on the CPU, the slowest; see :func:`operations_of`."""
    operations = operations_of(product, pixel_rows=pixel_rows)
    return "portable" if product.portable_because else ops.slowest(operations)


@dataclass(frozen=True)
class ConvProduct:
    """Products of a 2-d convolution with zero padding."""

    operations: ClassVar[tuple[str, ...]] = ("binary_conv2d", "conv2d_input_gradient", "conv2d_weight_gradient")

    channels: int
    outputs: int
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    @property
    def portable_because(self) -> str:
        """See :class:`Product`."""
        if ops.slowest(self.operations) in ("reference", "portable"):
            return ""
        if self.groups > 1 and min(self.channels, self.outputs) // self.groups < native.LEAST_GROUP_CHANNELS:
            return f"only portable kernels take groups of fewer than {native.LEAST_GROUP_CHANNELS} channels"
        if self.weight_channels * self.kernel_size[0] * self.kernel_size[1] > native.MOST_FORWARD_TERMS:
            return f"only portable kernels take sums of more than {native.MOST_FORWARD_TERMS} products"
        return ""

    @property
    def weight_channels(self) -> int:
        """Input channels that one output channel sees, C / groups."""
        return self.channels // self.groups

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Product`."""
        return ops.binary_conv2d(x, weight, self.channels, self.stride, self.padding, self.dilation, self.groups)

    def input_gradient(self, codes: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        size = x.shape[1:3]
        return ops.conv2d_input_gradient(
            codes, weight, self.channels, size, self.stride, self.padding, self.dilation, self.groups
        )

    def input_constant(self, weight: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """See :class:`Product`."""
        ones = gradient.new_ones((1, *gradient.shape[2:], self.outputs), dtype=torch.uint8)
        return self.input_gradient(ones, weight, x)

    def weight_gradient(self, codes: Tensor, index: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return ops.conv2d_weight_gradient(
            x,
            codes,
            index,
            self.channels,
            self.outputs,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def weight_constant(self, index: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """See :class:`Product`."""
        per_group = self.outputs // self.groups
        ones = gradient.new_ones((self.groups, gradient.shape[0], *gradient.shape[2:]), dtype=torch.uint8)
        first_of_group = torch.arange(self.groups, dtype=torch.int64, device=x.device) * per_group
        constant = self.weight_gradient(ones, first_of_group, x)
        return constant if self.groups == 1 else constant[index // per_group]

    def pixel_input_gradient(
        self, codes: Tensor, bits: int, index: Tensor, outside: Outside, weight: Tensor, x: Tensor
    ) -> Tensor:
        """See :class:`Product`."""
        result = ops.pixel_input_gradient(
            codes,
            bits,
            index,
            *outside,
            weight,
            x.shape[0],
            self.channels,
            x.shape[1:3],
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        return result.movedim(-1, 1)

    def pixel_weight_gradient(self, codes: Tensor, bits: int, index: Tensor, output: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return ops.pixel_weight_gradient(
            x,
            codes,
            bits,
            index,
            output,
            self.channels,
            self.outputs,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def float_input_gradient(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        size = (gradient.shape[0], self.channels, *x.shape[1:3])
        signs = ops.unpack_sign(weight, self.weight_channels)
        return convolution.input_gradient(size, signs, gradient, self.stride, self.padding, self.dilation, self.groups)

    def float_weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        size = (self.outputs, self.weight_channels, *self.kernel_size)
        signs = ops.unpack_sign(x, self.channels)
        return convolution.weight_gradient(signs, size, gradient, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True)
class LinearProduct:
    """Products of a linear layer: a convolution over one pixel."""

    operations: ClassVar[tuple[str, ...]] = ("binary_linear", "conv2d_input_gradient", "conv2d_weight_gradient")

    channels: int
    outputs: int

    @property
    def weight_channels(self) -> int:
        """Input channels that one output channel sees: all."""
        return self.channels

    @property
    def _as_convolution(self) -> ConvProduct:
        return ConvProduct(self.channels, self.outputs, (1, 1), (1, 1), (0, 0), (1, 1), 1)

    @property
    def portable_because(self) -> str:
        """See :class:`Product`."""
        return self._as_convolution.portable_because

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """See :class:`Product`."""
        return ops.binary_linear(x, weight, self.channels)

    def input_gradient(self, codes: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return self._as_convolution.input_gradient(
            codes[:, None, None], weight[:, None, None], x[:, None, None]
        ).flatten(1)

    def input_constant(self, weight: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """See :class:`Product`."""
        return self.input_gradient(gradient.new_ones((1, self.outputs), dtype=torch.uint8), weight, x)

    def weight_gradient(self, codes: Tensor, index: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return self._as_convolution.weight_gradient(codes[..., None, None], index, x[:, None, None]).flatten(1)

    def weight_constant(self, index: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
        """See :class:`Product`."""
        ones = gradient.new_ones((1, gradient.shape[0]), dtype=torch.uint8)
        return self.weight_gradient(ones, index.new_zeros(1), x)

    def pixel_input_gradient(
        self, codes: Tensor, bits: int, index: Tensor, outside: Outside, weight: Tensor, x: Tensor
    ) -> Tensor:
        """See :class:`Product`."""
        pixels = weight[:, None, None], x[:, None, None]
        return self._as_convolution.pixel_input_gradient(codes, bits, index, outside, *pixels).flatten(1)

    def pixel_weight_gradient(self, codes: Tensor, bits: int, index: Tensor, output: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return self._as_convolution.pixel_weight_gradient(codes, bits, index, output, x[:, None, None]).flatten(1)

    def float_input_gradient(self, gradient: Tensor, weight: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Product`."""
        return gradient @ ops.unpack_sign(weight, self.channels)

    def float_weight_gradient(self, gradient: Tensor, x: Tensor) -> Tensor:
        """See :class:`Product`."""
        return gradient.T @ ops.unpack_sign(x, self.channels)
