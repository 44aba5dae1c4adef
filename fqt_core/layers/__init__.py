"""Binarised layers: drop-in replacements of ``nn.Conv2d`` and ``nn.Linear``, and their inference-only forms."""

from fqt_core.layers.base import BinaryLayer
from fqt_core.layers.conv import BinaryConv2d
from fqt_core.layers.latents import CompactGradient
from fqt_core.layers.linear import BinaryLinear
from fqt_core.layers.packed import PackedConv2d, PackedLinear

__all__ = ["BinaryConv2d", "BinaryLayer", "BinaryLinear", "CompactGradient", "PackedConv2d", "PackedLinear"]
