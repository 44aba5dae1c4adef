"""What layers have in common whose operands are integers of 2 to 8 bits: drop-in convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from fqt_core import ops
from fqt_core.config import MethodConfig
from fqt_core.layers.byte_product import ByteProduct
from fqt_core.layers.conv import explicit_padding, pair
from fqt_core.random import PhiloxState


@dataclass(frozen=True)
class OwnRate:
    """What the learning rate of a parameter is multiplied by: ``factor`` of a number that the layer keeps.

    ``number``: gives it as it is, float32 (), on the layer's device; so nobody need wait for it before a step ends.
    """

    number: Callable[[], Tensor]
    factor: Callable[[float], float]


class QuantizedLayer(nn.Module):
    """A layer that takes over a convolution's or linear layer's parameters (the same objects) and computes on bytes.

    Parameters: ``weight``, float latents of the layer's shape; ``bias``, optional.

    Attributes:
        layer_name: the layer's name in its network, for messages.
        layer_index: its number, which keys its random numbers.
        method: how it is quantised.
        state: seed and step, shared by all layers of a network.
        product: the geometry.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    MARK: ClassVar[str]
    """Name of a tensor in the state dict that only such layers have."""

    def __init__(
        self, module: nn.Conv2d | nn.Linear, *, method: MethodConfig, state: PhiloxState, layer_index: int, name: str
    ) -> None:
        super().__init__()
        self.weight = cast("nn.Parameter", module.weight)
        self.register_parameter("bias", cast("nn.Parameter | None", module.bias))
        self.method, self.state, self.layer_index, self.layer_name = method, state, layer_index, name
        self.linear = isinstance(module, nn.Linear)
        if isinstance(module, nn.Conv2d):
            self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)
            padding = explicit_padding(module, name)
            self.product = ByteProduct(pair(module.stride), padding, pair(module.dilation))
        else:
            self.product = ByteProduct((1, 1), (0, 0), (1, 1))
        self.train(module.training)

    def forward(self, x: Tensor) -> Tensor:
        """As of the full-precision layer: float (N, C, H, W), or (*, C), to float32."""
        if not self.linear:
            return self.apply_product(x, self.weight)
        rows = x.reshape(-1, x.shape[-1], 1, 1)
        return self.apply_product(rows, self.weight[..., None, None]).reshape(*x.shape[:-1], -1)

    def apply_product(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer on (N, C, H, W) with a weight (D, C, kh, kw): float32 (N, D, H', W')."""
        raise NotImplementedError

    def simulated(self) -> nn.Module:
        """What evaluates to the same up to rounding, in plain floating-point operations, for export."""
        raise NotImplementedError

    def own_rates(self, optimizer: str) -> Sequence[nn.Parameter]:
        """Its parameters that have an :meth:`own_rate`; ``optimizer``: ``adam`` or ``sgd``."""
        del optimizer
        return ()

    def own_rate(self, parameter: Tensor) -> OwnRate:
        """What the learning rate of such a parameter is multiplied by."""
        raise NotImplementedError

    @classmethod
    def isa(cls) -> str:
        """The instruction set of its kernels."""
        return ops.slowest(ByteProduct.operations)

    def extra_repr(self) -> str:
        """Sizes, geometry and method."""
        return f"{'x'.join(map(str, self.weight.shape))}, {self.product}, method={self.method.name}"


class SimulatedLayer(nn.Module):
    """A layer of fixed step sizes in floating point: ``conv(Δ · clamp(round(x / Δ), lo, hi), Ŵ) + bias``."""

    weight: Tensor
    bias: Tensor | None
    step: Tensor

    def __init__(self, layer: QuantizedLayer, weight: Tensor, step: Tensor, codes: tuple[int, int]) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.register_buffer("step", step.detach().clone())
        self.codes, self.product, self.linear = codes, layer.product, layer.linear

    def forward(self, x: Tensor) -> Tensor:
        """As the layer."""
        quantized = torch.clamp(torch.round(x / self.step), *self.codes) * self.step
        if self.linear:
            return nn.functional.linear(quantized, self.weight, self.bias)
        around: tuple[Any, ...] = (self.product.stride, self.product.padding, self.product.dilation)
        return nn.functional.conv2d(quantized, self.weight, self.bias, *around)
