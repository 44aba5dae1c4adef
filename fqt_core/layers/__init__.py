"""Quantised layers: drop-in replacements of ``nn.Conv2d`` and ``nn.Linear``; of binarised ones, forms for inference."""

from torch import nn

from fqt_core.layers.base import BinaryLayer
from fqt_core.layers.conv import BinaryConv2d
from fqt_core.layers.integer import IntegerLayer
from fqt_core.layers.latents import CompactGradient, DeferredGradient
from fqt_core.layers.linear import BinaryLinear
from fqt_core.layers.packed import PackedConv2d, PackedLinear
from fqt_core.layers.quantized import QuantizedLayer
from fqt_core.layers.stepped import SteppedLayer

__all__ = [
    "BinaryConv2d",
    "BinaryLayer",
    "BinaryLinear",
    "CompactGradient",
    "DeferredGradient",
    "IntegerLayer",
    "PackedConv2d",
    "PackedLinear",
    "QuantizedLayer",
    "SteppedLayer",
    "trained_layers",
]


def trained_layers(model: nn.Module) -> list[BinaryLayer | QuantizedLayer]:
    """All layers of a network that a method has converted and trains."""
    return [module for module in model.modules() if isinstance(module, BinaryLayer | QuantizedLayer)]
