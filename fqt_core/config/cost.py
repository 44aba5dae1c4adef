"""What a training step multiplies and moves, by the width of its operands, and a proxy of its energy. Imports no torch.

Counted are the three products of every convolution and linear layer (forward, dL/dX, dL/dW) and what the optimiser
reads and writes; an operand is read once and a result written once per product, at the width that its format has.
Normalisation, activations, pooling, what quantisers do themselves, probes of telemetry, the teacher and validation are
left out.

The energy is a **proxy**: the energies of single operations in a 45 nm process at 0.9 V and of reading DRAM, from
Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure 1.1.9. It says what the formats
would cost in such hardware, not what this machine draws. The figure has no one-bit product: XNOR and its share of a
count are taken as an eighth of an addition of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fqt_core.config.architecture import ArchitectureConfig
from fqt_core.config.method_base import FULL_BITS, MethodConfig
from fqt_core.config.plan import LayerShape, network_plan
from fqt_core.config.quantizer import GradientQuantizer

Width: TypeAlias = Literal["binary", "byte", "float"]
Optimizer: TypeAlias = Literal["adam", "sgd", "muon"]

_PICO = 1e-12
_ADD_BYTE, _ADD_INT32, _MULTIPLY_BYTE = 0.03, 0.1, 0.2
_ADD_FLOAT, _MULTIPLY_FLOAT = 0.9, 3.7
_DRAM_64_BITS = 1300.0  # the lower end of 1.3 to 2.6 nJ

PICOJOULES: dict[Width, float] = {
    "binary": _ADD_BYTE / 8,
    "byte": _MULTIPLY_BYTE + _ADD_INT32,
    "float": _MULTIPLY_FLOAT + _ADD_FLOAT,
}
"""Of one multiply-accumulate."""

PICOJOULES_PER_BYTE = _DRAM_64_BITS / 8
"""Of moving one byte to or from DRAM."""

_BYTE_BITS = 8
_FLOAT_BYTES = FULL_BITS // _BYTE_BITS
# Values that a step reads and writes per parameter: weight, gradient and moments; weight and moments.
_OPTIMIZER_VALUES: dict[Optimizer, int] = {"adam": 4 + 3, "sgd": 3 + 2, "muon": 3 + 2}


@dataclass(frozen=True)
class StepCost:
    """Of one training step of so many images. A product of a b-bit code with a sign counts as b binary ones."""

    images: int
    binary_macs: int
    byte_macs: int
    float_macs: int
    bytes_moved: int

    @property
    def operation_joules(self) -> float:
        """Proxy of the energy of all multiply-accumulates."""
        counts: dict[Width, int] = {"binary": self.binary_macs, "byte": self.byte_macs, "float": self.float_macs}
        return _PICO * sum(PICOJOULES[width] * count for width, count in counts.items())

    @property
    def movement_joules(self) -> float:
        """Proxy of the energy of moving the bytes."""
        return _PICO * PICOJOULES_PER_BYTE * self.bytes_moved


@dataclass(frozen=True)
class _Operand:
    """Elements, their width in bits, and the share of them that is kept."""

    elements: int
    bits: float
    share: float = 1.0

    @property
    def bytes(self) -> float:
        return self.elements * self.bits * self.share / _BYTE_BITS


def step_cost(
    config: ArchitectureConfig,
    num_classes: int,
    method: MethodConfig,
    *,
    images: int,
    micro_batches: int = 1,
    optimizer: Optimizer = "adam",
) -> StepCost:
    """What one training step takes.

    Args:
        config: the network.
        num_classes: outputs of its head.
        method: what it is converted to; where bits are still to be chosen, the budget counts.
        images: of the step.
        micro_batches: in how many parts they go through: each reads the weights and adds to their gradients.
        optimizer: decides what is read and written per parameter.

    Raises:
        ConfigurationError: see :func:`fqt_core.config.plan.layer_plan`.
    """
    network = network_plan(config, num_classes, method)
    macs: dict[Width, float] = {"binary": 0.0, "byte": 0.0, "float": 0.0}
    moved = 0.0
    layers = network.layers.weight_layers
    for number, layer in enumerate(layers):
        inner = 0 < number < len(layers) - 1
        own = (
            method.for_layer(layer.name) if (layer.binary if method.binarises else inner and method.converts) else None
        )
        for product in _products(layer, own, images, micro_batches, first=number == 0):
            width, factor = _width(*product.operands)
            macs[width] += layer.macs * images * product.share * factor
            moved += sum(operand.bytes for operand in product.operands) + product.result.bytes
    if optimizer == "muon":  # Adam for everything but the latents
        values = _OPTIMIZER_VALUES["muon"] * network.binary_parameters
        values += _OPTIMIZER_VALUES["adam"] * (network.parameters - network.binary_parameters)
    else:
        values = _OPTIMIZER_VALUES[optimizer] * network.parameters
    return StepCost(
        images=images,
        binary_macs=round(macs["binary"]),
        byte_macs=round(macs["byte"]),
        float_macs=round(macs["float"]),
        bytes_moved=round(moved) + _FLOAT_BYTES * values,
    )


@dataclass(frozen=True)
class _Product:
    """One product of a layer: its operands, its result in float32, and the share of its multiply-accumulates."""

    operands: tuple[_Operand, _Operand]
    result: _Operand
    share: float


def _products(
    layer: LayerShape, own: MethodConfig | None, images: int, micro_batches: int, *, first: bool
) -> Iterator[_Product]:
    """Forward, dL/dX (not of the first layer) and dL/dW. ``own`` is the layer's method; ``None``: full precision."""
    inputs = images * layer.in_channels * layer.input_size**2
    outputs = images * layer.gradient_elements
    weights = micro_batches * layer.weights
    bits = FULL_BITS if own is None else own.forward_bits
    x, w = _Operand(inputs, bits), _Operand(weights, bits)
    yield _Product((x, w), _Operand(outputs, FULL_BITS), 1.0)
    if not first:
        g = _gradient(own, outputs, None if own is None or own.chooses_bits else own.input_gradient)
        yield _Product((g, w), _Operand(inputs, FULL_BITS), g.share)
    quantizer = None if own is None or own.chooses_bits else own.weight_gradient
    g = _gradient(own, outputs, quantizer)
    if quantizer is not None and quantizer.groups == "sample":
        g = _Operand(outputs, FULL_BITS, g.share)  # its scale stands inside of the sum: simulated in floating point
    yield _Product((g, x), _Operand(weights, FULL_BITS), g.share)


def _gradient(own: MethodConfig | None, elements: int, quantizer: GradientQuantizer | None) -> _Operand:
    if own is not None and own.chooses_bits:
        return _Operand(elements, own.average_bits)
    if quantizer is None:
        return _Operand(elements, FULL_BITS)
    return _Operand(elements, quantizer.bits, quantizer.keep)


def _width(one: _Operand, other: _Operand) -> tuple[Width, float]:
    """What a product of these formats is, and how many of those one multiply-accumulate counts as."""
    narrow, wide = sorted((one.bits, other.bits))
    if wide > _BYTE_BITS:
        return "float", 1.0
    return ("binary", wide) if narrow <= 1 else ("byte", 1.0)
