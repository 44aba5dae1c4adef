"""What binarised convolutions and linear layers have in common."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from fqt_core.config import GradientQuantizer, MethodConfig
from fqt_core.errors import ConfigurationError
from fqt_core.layers.function import BinaryFunction, LayerContext
from fqt_core.layers.latents import CompactGradient, WeightCache, lay_out_
from fqt_core.layers.products import Product
from fqt_core.quantizers.scale import mean_scale
from fqt_core.quantizers.sign import pack_weight
from fqt_core.random import PhiloxState

_SET_IN_EACH_STEP = frozenset({"collect_statistics", "wants_compact_gradient", "compact_gradient"})


class BinaryLayer(nn.Module):
    """Base of the binarised layers; mixed into ``nn.Conv2d`` and ``nn.Linear``.

    Parameters: ``weight``, the float latents Θ, with the name and shape of the full-precision layer's, a convolution's
        in ``torch.channels_last`` format; ``bias``, optional; ``alpha`` (D,), only if the method learns its scale.

    Attributes:
        layer_name: the layer's name in its network, for messages.
        layer_index: its number, which keys its random numbers.
        method: how the gradients are quantised.
        state: seed and step, shared by all layers of a network.
        collect_statistics: fill :attr:`statistics` in each backward pass.
        statistics: figures of the last backward pass: ``gradient_range``, ``window_share``, ``kept_samples``,
            ``kept_channels``, ``kept_sample_probability_min``, ``kept_channel_probability_min``, as far as they apply.
        wants_compact_gradient: the optimiser takes :attr:`compact_gradient`; a backward pass that has the gradient of
            only some output channels hands it to :meth:`add_compact_gradient` and leaves ``weight.grad`` alone.
        compact_gradient: the gradient of the weight, in place of or in addition to ``weight.grad``; ``None`` if there
            is none. The optimiser consumes it; its ``zero_grad`` and the layer's drop it (that of a whole network,
            which only knows parameters, does not).
        weight_cache: sign words and scale that the optimiser found on its way.
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
        self.wants_compact_gradient = False
        self.compact_gradient: CompactGradient | None = None
        self.weight_cache = WeightCache()
        self._quantizers: tuple[MethodConfig, tuple[GradientQuantizer | None, GradientQuantizer | None]] | None = None
        lay_out_(self.weight)
        self.weight_scale: str = getattr(method, "weight_scale", "mean")
        alpha = nn.Parameter(mean_scale(self.weight)) if self.weight_scale == "learned" else None
        self.register_parameter("alpha", alpha)

    def _adopt(self, module: nn.Conv2d | nn.Linear, name: str) -> None:
        """Take over the parameters (the same objects) and the mode of a full-precision layer."""
        self.weight = module.weight
        lay_out_(self.weight)
        self.register_parameter("bias", cast("nn.Parameter | None", module.bias))
        self.layer_name = name
        if self.alpha is not None:
            self.alpha = nn.Parameter(mean_scale(module.weight))
        self.train(module.training)

    def __setattr__(self, name: str, value: Any) -> None:
        """As of any module, which looks through parameters, modules and buffers: not for what a step sets."""
        if name in _SET_IN_EACH_STEP:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def product(self) -> Product:
        """The layer's three products."""
        raise NotImplementedError

    @property
    def quantizers(self) -> tuple[GradientQuantizer | None, GradientQuantizer | None]:
        """How the method quantises the gradients of the input and of the weight. Kept: a step asks several times.

        Raises:
            ConfigurationError: the method's bits are still to be chosen.
        """
        if self._quantizers is None or self._quantizers[0] is not self.method:
            self._quantizers = self.method, (self.method.input_gradient, self.method.weight_gradient)
        return self._quantizers[1]

    def scale(self) -> Tensor | None:
        """α, float32 (D,), or ``None`` if the method uses none."""
        if self.weight_scale == "none":
            return None
        if self.alpha is not None:
            return self.alpha
        known = self.weight_cache.get(self.weight)
        return mean_scale(self.weight) if known is None else known[1]

    def packed_weight(self) -> Tensor:
        """The signs of the weight: int64 words (D, *, ceil(C / groups / 64)); layout in :mod:`fqt_core.ops.packing`."""
        known = self.weight_cache.get(self.weight)
        return pack_weight(self.weight) if known is None else known[0]

    def clamp_latents_(self) -> None:
        """Clamp the latents to [-1, 1]; to be called after each optimiser step.

        Those that the optimiser has clamped and nobody has changed since are left alone.
        """
        if self.weight_cache.get(self.weight) is None:
            with torch.no_grad():
                self.weight.clamp_(-1, 1)

    def add_compact_gradient(self, added: CompactGradient) -> None:
        """Add to the weight's gradient that of some output channels."""
        if self.compact_gradient is None:
            self.compact_gradient = added
            return
        dense = self.compact_gradient.dense(self.weight) + added.dense(self.weight)
        self.compact_gradient = None
        self.weight.grad = dense if self.weight.grad is None else self.weight.grad + dense

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As of any module; the compact gradient is dropped as well."""
        super().zero_grad(set_to_none)
        self.compact_gradient = None

    def _apply_binary(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Run the layer on (N, C, *)."""
        statistics = self.statistics if self.collect_statistics else None
        if statistics is not None:
            statistics.clear()
        context = LayerContext(self.layer_name, self.layer_index, self.method, self.state, self.product, statistics)
        arguments = (x, self.weight, self.packed_weight(), self.scale(), bias, context)
        return cast("Tensor", BinaryFunction.apply(*arguments))  # type: ignore[no-untyped-call]

    def extra_repr(self) -> str:
        """The full-precision layer's description and the method."""
        return f"{super().extra_repr()}, method={self.method.name}"
