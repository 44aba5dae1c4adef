"""Binarised linear layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fqt_core.config import MethodConfig
from fqt_core.layers.base import BinaryLayer
from fqt_core.layers.packed import PackedLinear
from fqt_core.layers.products import LinearProduct
from fqt_core.random import PhiloxState


class BinaryLinear(BinaryLayer, nn.Linear):
    """``Y = α ⊙ (sign(x) · sign(weight)ᵀ) + bias``.

    Input float (*, C), output float32 (*, D); every row counts as a sample. Gradients are quantised as ``method`` says.

    Raises:
        ConfigurationError: ``method`` does not binarise.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        method: MethodConfig,
        state: PhiloxState,
        layer_index: int,
        device: Any = None,
    ) -> None:
        nn.Linear.__init__(self, in_features, out_features, bias, device=device)
        self._configure(method, state, layer_index)

    @classmethod
    def from_float(
        cls, module: nn.Linear, *, method: MethodConfig, state: PhiloxState, layer_index: int, name: str
    ) -> BinaryLinear:
        """The binarised layer that takes over the parameters of ``module`` (the same objects)."""
        layer = cls(
            module.in_features,
            module.out_features,
            module.bias is not None,
            method=method,
            state=state,
            layer_index=layer_index,
            device="meta",
        )
        layer._adopt(module, name)
        return layer

    @staticmethod
    def from_packed(
        weight_bits: Tensor, alpha: Tensor | None, bias: Tensor | None, *, in_features: int
    ) -> PackedLinear:
        """An inference-only layer from :meth:`packed_weight`; see :class:`PackedLinear`."""
        return PackedLinear(LinearProduct(in_features, weight_bits.shape[0]), weight_bits, alpha, bias)

    @property
    def product(self) -> LinearProduct:
        """The layer's three products."""
        return LinearProduct(self.in_features, self.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """float (*, C) to float32 (*, D)."""
        return self._apply_binary(x.reshape(-1, self.in_features), self.bias).reshape(*x.shape[:-1], self.out_features)
