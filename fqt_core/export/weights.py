"""The weights of a finished model, layer by layer, as they are: signs where there is one bit per weight."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn

from fqt_core.errors import ConfigurationError
from fqt_core.export.predict import PackedModel
from fqt_core.layers.packed import PackedConv2d, PackedLinear
from fqt_core.ops import unpack_sign

MOST_PART_BYTES = 2**19

_Kinds = PackedConv2d | PackedLinear | nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class LayerFacts:
    """A layer with a weight. ``shape``: output channels, input channels that each sees, and the kernel's sides.

    ``positive_share``: of signs that are +1; ``None`` in full precision.
    """

    name: str
    kind: Literal["conv2d", "linear"]
    shape: list[int]
    bits: Literal[1, 32]
    weights: int
    positive_share: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class WeightPart:
    """Some of a layer's filters, those of the output channels ``first`` and following.

    Attributes:
        count: how many.
        data: their weights in row-major order. Of one bit: element i is bit i % 8 (least significant first) of byte
            i // 8, 1 for +1 and 0 for -1, as in a model file; else float32, little-endian.
        scales: what multiplies the sums of each (α); ``None`` if the layer has none.
    """

    first: int
    count: int
    data: bytes
    scales: list[float] | None


def layers(model: PackedModel) -> list[LayerFacts]:
    """Every layer with a weight, in the order of the network."""
    return [_facts(name, module) for name, module in model.network.named_modules() if isinstance(module, _Kinds)]


def layer_weights(model: PackedModel, name: str, first: int = 0, count: int = 64) -> tuple[LayerFacts, WeightPart]:
    """A layer and its filters from ``first`` on: ``count`` of them, or as many as ``MOST_PART_BYTES`` hold (but one).

    Raises:
        ConfigurationError: the network has no layer of this name with a weight.
    """
    module = dict(model.network.named_modules()).get(name)
    if not isinstance(module, _Kinds):
        raise ConfigurationError(f"the network has no layer {name!r} with a weight")
    facts = _facts(name, module)
    size = facts.bits * math.prod(facts.shape[1:]) / 8
    last = min(facts.shape[0], first + max(1, min(count, int(MOST_PART_BYTES / size))))
    part = slice(first, max(first, last))
    if isinstance(module, nn.Conv2d | nn.Linear):
        data = module.weight[part].detach().cpu().numpy().astype("<f4").tobytes()
        scales = None
    else:
        signs = unpack_sign(module.weight_bits[part], facts.shape[1]) if part.start < part.stop else None
        data = b"" if signs is None else np.packbits(signs.numpy().reshape(-1) > 0, bitorder="little").tobytes()
        scales = None if module.alpha is None else module.alpha[part].tolist()
    return facts, WeightPart(first, part.stop - part.start, data, scales)


def _facts(name: str, module: _Kinds) -> LayerFacts:
    kind: Literal["conv2d", "linear"] = "conv2d" if isinstance(module, PackedConv2d | nn.Conv2d) else "linear"
    if isinstance(module, nn.Conv2d | nn.Linear):
        shape = list(module.weight.shape)
        return LayerFacts(name, kind, shape, 32, math.prod(shape), None)
    shape = [module.weight_bits.shape[0], module.product.weight_channels, *module.weight_bits.shape[1:-1]]
    weights = math.prod(shape)
    return LayerFacts(name, kind, shape, 1, weights, _set_bits(module.weight_bits) / weights)


def _set_bits(words: Tensor) -> int:
    """How many bits are set; those behind the last channel are not."""
    return int(np.bitwise_count(words.cpu().numpy().view(np.uint64)).sum(dtype=np.int64))
