"""What binarised convolutions and linear layers have in common."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from fqt_core.config import MethodConfig
from fqt_core.errors import ConfigurationError
from fqt_core.layers.function import BinaryFunction, LayerContext
from fqt_core.layers.products import Product
from fqt_core.quantizers.scale import mean_scale
from fqt_core.quantizers.sign import pack_weight
from fqt_core.random import PhiloxState


class BinaryLayer(nn.Module):
    """Base of the binarised layers; mixed into ``nn.Conv2d`` and ``nn.Linear``.

    Parameters: ``weight``, the float latents Θ, with the name and shape of the full-precision layer's; ``bias``,
        optional; ``alpha`` (D,), only if the method learns its scale.

    Attributes:
        layer_name: the layer's name in its network, for messages.
        layer_index: its number, which keys its random numbers.
        method: how the gradients are quantised.
        state: seed and step, shared by all layers of a network.
        collect_statistics: fill :attr:`statistics` in each backward pass.
        statistics: figures of the last backward pass: ``gradient_range``, ``window_share``, ``kept_samples``,
            ``kept_channels``, ``kept_sample_probability_min``, ``kept_channel_probability_min``, as far as they apply.
    """

    weight: Tensor
    alpha: nn.Parameter | None

    def _configure(self, method: MethodConfig, state: PhiloxState, layer_index: int) -> None:
        """Second half of the constructors; call it when ``weight`` exists."""
        if not method.binarises:
            raise ConfigurationError(f"method {method.name!r} does not binarise: keep the full-precision layer")
        self.method = method
        self.state = state
        self.layer_index = layer_index
        self.layer_name = f"layer {layer_index}"
        self.collect_statistics = False
        self.statistics: dict[str, float] = {}
        self.weight_scale: str = getattr(method, "weight_scale", "mean")
        alpha = nn.Parameter(mean_scale(self.weight)) if self.weight_scale == "learned" else None
        self.register_parameter("alpha", alpha)

    def _adopt(self, module: nn.Conv2d | nn.Linear, name: str) -> None:
        """Take over the parameters (the same objects) and the mode of a full-precision layer."""
        self.weight = module.weight
        self.register_parameter("bias", cast("nn.Parameter | None", module.bias))
        self.layer_name = name
        if self.alpha is not None:
            self.alpha = nn.Parameter(mean_scale(module.weight))
        self.train(module.training)

    @property
    def product(self) -> Product:
        """The layer's three products."""
        raise NotImplementedError

    def scale(self) -> Tensor | None:
        """α, float32 (D,), or ``None`` if the method uses none."""
        if self.weight_scale == "none":
            return None
        return self.alpha if self.alpha is not None else mean_scale(self.weight)

    def packed_weight(self) -> Tensor:
        """The signs of the weight: int64 words (D, *, ceil(C / groups / 64)); layout in :mod:`fqt_core.ops.packing`."""
        return pack_weight(self.weight)

    @torch.no_grad()
    def clamp_latents_(self) -> None:
        """Clamp the latents to [-1, 1]; to be called after each optimiser step."""
        self.weight.clamp_(-1, 1)

    def _apply_binary(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Run the layer on (N, C, *)."""
        statistics = self.statistics if self.collect_statistics else None
        if statistics is not None:
            statistics.clear()
        context = LayerContext(self.layer_name, self.layer_index, self.method, self.state, self.product, statistics)
        arguments = (x, self.weight, self.scale(), bias, context)
        return cast("Tensor", BinaryFunction.apply(*arguments))  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """The full-precision layer's description and the method."""
        return f"{super().extra_repr()}, method={self.method.name}"
