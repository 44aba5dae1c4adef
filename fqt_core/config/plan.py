"""What a network consists of, layer by layer, before it is built: sizes, weights, work and memory. Imports no torch.

The API answers dry runs from it. The networks of :mod:`fqt_core.models` are tested against it, layer by layer, so that
neither can change alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fqt_core.config.architecture import ArchitectureConfig, Convnet, Resnet18, Vgg16
from fqt_core.config.method_base import FULL_BITS, MethodConfig
from fqt_core.errors import ConfigurationError

Kind: TypeAlias = Literal["conv2d", "linear", "batch_norm", "relu", "max_pool", "avg_pool", "dropout"]

_FLOAT_BYTES = 4
_POOL_INDEX_BYTES = 8  # torch keeps the winner of each window as int64
_WORD_BITS = 64  # signs and windows are packed channel by channel into 64-bit words (fqt_core.ops.packing)

VGG16_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each VGG-16 stage; a 2x2 max-pool follows each stage."""

VGG16_HIDDEN = 4096
"""Features of the two hidden layers of the published VGG-16 head."""

VGG16_POOLED = 7
"""Side in pixels of what the published VGG-16 head looks at."""

RESNET18_STAGES = (64, 128, 256, 512)
"""Channels of each ResNet-18 stage of two blocks; all but the first halve the resolution."""

CONVNET_STEM = 32
"""Channels of the small network's first, 5x5 convolution."""

CONVNET_BLOCKS = ((32, 1), (64, 2), (64, 1), (64, 2), (64, 1))
"""Channels and stride of each 3x3 convolution of the small network."""


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, rounded to the nearest multiple of 8 (half up), at least 8."""
    return max(8, int(channels * width / 8 + 0.5) * 8)


def vgg16_widths(config: Vgg16) -> list[int]:
    """Channels of each convolution of VGG-16."""
    if config.widths is not None:
        return config.widths
    return [scaled(channels, config.width) for channels, depth in VGG16_STAGES for _ in range(depth)]


def convnet_widths(config: Convnet) -> list[int]:
    """Channels of each convolution of the small network."""
    if config.widths is not None:
        return config.widths
    return [scaled(channels, config.width) for channels in (CONVNET_STEM, *(block[0] for block in CONVNET_BLOCKS))]


def window_output(size: int, kernel: int, stride: int, padding: int) -> int:
    """Side in pixels of what a convolution or pool with square windows makes of ``size`` pixels."""
    return (size + 2 * padding - kernel) // stride + 1


@dataclass(frozen=True)
class LayerShape:
    """One layer. ``name`` is its name in the network; sides are in pixels (1 for layers without an image).

    ``binary`` says whether weights and input are one bit each. ``saved_bytes`` is what the layer keeps of one image
    for the backward pass, not counting what an earlier layer keeps already.
    """

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    padding: int
    input_size: int
    output_size: int
    bias: bool
    binary: bool
    saved_bytes: int

    @property
    def weights(self) -> int:
        """Elements of the weight tensor."""
        if self.kind in {"conv2d", "linear"}:
            return self.out_channels * self.in_channels * self.kernel_size**2
        return self.out_channels if self.kind == "batch_norm" else 0

    @property
    def parameters(self) -> int:
        """Weights and biases; a learned scale α is not counted."""
        return self.weights + (self.out_channels if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass (convolutions and linear layers only)."""
        return self.weights * self.output_size**2 if self.kind in {"conv2d", "linear"} else 0

    @property
    def gradient_elements(self) -> int:
        """Elements of the gradient of one image's output."""
        return self.out_channels * self.output_size**2

    @property
    def stored_values(self) -> int:
        """float32 values in a full-precision model file: parameters, mean and variance of batch normalisation."""
        return self.parameters + (2 * self.out_channels if self.kind == "batch_norm" else 0)


class LayerPlan(tuple[LayerShape, ...]):
    """All layers of a network in the order of its modules, with sums. Bytes of files count tensors, not headers."""

    __slots__ = ()

    @property
    def weight_layers(self) -> list[LayerShape]:
        """Convolutions and linear layers."""
        return [layer for layer in self if layer.kind in {"conv2d", "linear"}]

    @property
    def parameters(self) -> int:
        """Trainable parameters; learned scales α are not counted."""
        return sum(layer.parameters for layer in self)

    @property
    def binary_parameters(self) -> int:
        """Weights that are one bit."""
        return sum(layer.weights for layer in self if layer.binary)

    @property
    def binary_share(self) -> float:
        """``binary_parameters / parameters``, 0 to 1."""
        return self.binary_parameters / self.parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image's forward pass."""
        return sum(layer.macs for layer in self)

    @property
    def binary_macs(self) -> int:
        """Those of them that multiply one bit with one bit."""
        return sum(layer.macs for layer in self if layer.binary)

    @property
    def activation_bytes(self) -> int:
        """Bytes of one image's activations that training keeps for the backward pass."""
        return sum(layer.saved_bytes for layer in self)

    @property
    def fp32_bytes(self) -> int:
        """Bytes of a model file with 32 bits per value."""
        return sum(_FLOAT_BYTES * layer.stored_values for layer in self)

    def packed_bytes(self, *, scales: bool = True) -> int:
        """Bytes of a model file with one bit per binary weight, and a float32 scale per channel if ``scales``."""
        total = self.fp32_bytes
        for layer in self:
            if layer.binary:
                total += -(-layer.weights // 8) - _FLOAT_BYTES * layer.weights
                total += _FLOAT_BYTES * layer.out_channels if scales else 0
        return total


@dataclass(frozen=True)
class NetworkPlan:
    """A network under one method, next to the same network in full precision. Bytes are per image or per file.

    ``gradient_bits`` are the bits per gradient element, averaged over the layers that the method would binarise without
    overrides (32 where there are none). ``step_macs`` are the multiply-accumulates of one image's training step:
    forward, and both backward products over the groups that are kept; over all groups where that is still to be chosen.
    """

    layers: LayerPlan
    parameters: int
    binary_parameters: int
    macs: int
    binary_macs: int
    activation_bytes: int
    fp32_activation_bytes: int
    model_bytes: int
    fp32_bytes: int
    gradient_bits: float
    step_macs: int

    @property
    def binary_share(self) -> float:
        """Share of the parameters that are one bit, 0 to 1."""
        return self.binary_parameters / self.parameters


@dataclass
class _Builder:
    """Walks through a network as an image does. ``saved``: whether the tensor at hand is kept for backward already.

    ``full``: whether a layer is left in full precision, by its name, although its network is binarised.
    """

    channels: int
    size: int
    binarises: bool
    full: Callable[[str], bool]
    saved: bool = False
    layers: list[LayerShape] = field(default_factory=list)

    def add(
        self,
        name: str,
        kind: Kind,
        *,
        out: int | None = None,
        kernel: int = 1,
        stride: int = 1,
        padding: int = 0,
        output_size: int | None = None,
        bias: bool = False,
        binary: bool = False,
        kept: int = 0,
    ) -> None:
        """Append a layer that keeps ``kept`` bytes, and move on to its output."""
        outputs = self.channels if out is None else out
        size = window_output(self.size, kernel, stride, padding) if output_size is None else output_size
        self.layers.append(
            LayerShape(name, kind, self.channels, outputs, kernel, stride, padding, self.size, size, bias, binary, kept)
        )
        self.channels, self.size, self.saved = outputs, size, False

    def _keep_input(self) -> int:
        """Bytes of keeping the tensor at hand in full precision."""
        return 0 if self.saved else _FLOAT_BYTES * self.channels * self.size**2

    def _keep_bits(self) -> int:
        """Bytes of keeping sign and window of the tensor at hand."""
        return 2 * (_WORD_BITS // 8) * -(-self.channels // _WORD_BITS) * self.size**2

    def conv(self, name: str, out: int, kernel: int, stride: int, *, binary: bool, bias: bool) -> None:
        """A convolution that keeps the resolution, divided by its stride."""
        binary = binary and self.binarises and not self.full(name)
        kept = self._keep_bits() if binary else self._keep_input()
        self.add(
            name,
            "conv2d",
            out=out,
            kernel=kernel,
            stride=stride,
            padding=kernel // 2,
            bias=bias,
            binary=binary,
            kept=kept,
        )

    def linear(self, name: str, out: int, *, binary: bool) -> None:
        """A linear layer on the flattened tensor at hand."""
        binary = binary and self.binarises and not self.full(name)
        self.channels, self.size = self.channels * self.size**2, 1
        kept = self._keep_bits() if binary else self._keep_input()
        self.add(name, "linear", out=out, bias=True, binary=binary, kept=kept)

    def norm(self, name: str) -> None:
        """Batch normalisation."""
        self.add(name, "batch_norm", bias=True, kept=self._keep_input())

    def dropout(self, name: str) -> None:
        """Dropout keeps which features it dropped."""
        self.add(name, "dropout", kept=_FLOAT_BYTES * self.channels * self.size**2)

    def relu(self, name: str) -> None:
        """A ReLU keeps its output, which the next layer then need not keep again."""
        self.add(name, "relu", kept=_FLOAT_BYTES * self.channels * self.size**2)
        self.saved = True

    def max_pool(self, name: str, kernel: int, padding: int) -> None:
        """A max-pool of stride 2 keeps its input and the winners."""
        size = window_output(self.size, kernel, 2, padding)
        kept = self._keep_input() + _POOL_INDEX_BYTES * self.channels * size**2
        self.add(name, "max_pool", kernel=kernel, stride=2, padding=padding, output_size=size, kept=kept)

    def avg_pool(self, name: str, size: int, *, keeps: bool = True) -> None:
        """Average pooling to ``size`` pixels. A mean over the whole image keeps nothing (``keeps=False``)."""
        self.add(name, "avg_pool", output_size=size, kept=self._keep_input() if keeps else 0)

    def branch(self, channels: int, size: int, *, saved: bool) -> None:
        """Go back to a tensor that was at hand before."""
        self.channels, self.size, self.saved = channels, size, saved


def _vgg16(net: _Builder, config: ArchitectureConfig, num_classes: int) -> None:
    assert isinstance(config, Vgg16)
    index = 0
    widths = iter(vgg16_widths(config))
    for stage, (_, depth) in enumerate(VGG16_STAGES):
        for position in range(depth):
            net.conv(f"features.{index}", next(widths), 3, 1, binary=index > 0, bias=True)
            last = position == depth - 1
            pool = last and net.size >= 2
            if pool and net.binarises:
                net.max_pool(f"features.{index + 3}", 2, 0)
            net.norm(f"features.{index + 1}")
            before_small_head = config.stem == "small" and last and stage == len(VGG16_STAGES) - 1
            if before_small_head or not net.binarises:
                net.relu(f"features.{index + 2}")
            if pool and not net.binarises:
                net.max_pool(f"features.{index + 3}", 2, 0)
            index += 3
        index += 1
    if config.stem == "small":
        net.avg_pool("avgpool", 1, keeps=False)
        net.linear("classifier", num_classes, binary=False)
        return
    net.avg_pool("avgpool", VGG16_POOLED)
    hidden = scaled(VGG16_HIDDEN, config.width)
    for position in (0, 3):
        net.linear(f"classifier.{position}", hidden, binary=True)
        if net.binarises:
            net.norm(f"classifier.{position + 1}")
        else:
            net.relu(f"classifier.{position + 1}")
        if not net.binarises or position == 3:  # the conversion takes away dropout in front of a sign
            net.dropout(f"classifier.{position + 2}")
    net.linear("classifier.6", num_classes, binary=False)


def _resnet18(net: _Builder, config: ArchitectureConfig, num_classes: int) -> None:
    assert isinstance(config, Resnet18)
    widths = [scaled(channels, config.width) for channels in RESNET18_STAGES]
    small = config.stem == "small"
    net.conv("conv1", widths[0], 3 if small else 7, 1 if small else 2, binary=False, bias=False)
    if net.binarises and not small:
        net.max_pool("maxpool", 3, 1)
    net.norm("bn1")
    if not net.binarises:
        net.relu("relu")
        if not small:
            net.max_pool("maxpool", 3, 1)
    for stage, channels in enumerate(widths, start=1):
        for position in range(2):
            _basic_block(net, f"layer{stage}.{position}", channels, 2 if stage > 1 and position == 0 else 1)
    if net.binarises:
        net.relu(f"layer{len(widths)}.1.relu2")
    net.avg_pool("avgpool", 1, keeps=False)
    net.linear("fc", num_classes, binary=False)


def _basic_block(net: _Builder, name: str, channels: int, stride: int) -> None:
    start, start_saved = (net.channels, net.size), net.saved
    net.conv(f"{name}.conv1", channels, 3, stride, binary=True, bias=False)
    net.norm(f"{name}.bn1")
    if not net.binarises:
        net.relu(f"{name}.relu1")
    net.conv(f"{name}.conv2", channels, 3, 1, binary=True, bias=False)
    net.norm(f"{name}.bn2")
    if stride > 1:
        _downsample(net, f"{name}.downsample", channels, stride, start, saved=start_saved)
    if not net.binarises:
        net.relu(f"{name}.relu2")


def _downsample(net: _Builder, name: str, channels: int, stride: int, start: tuple[int, int], *, saved: bool) -> None:
    """The shortcut from ``start`` (channels, side) to the tensor at hand."""
    output_size = net.size
    net.branch(*start, saved=saved)
    if net.binarises:
        net.avg_pool(f"{name}.pool", output_size)
    net.conv(f"{name}.0", channels, 1, 1 if net.binarises else stride, binary=False, bias=False)
    net.norm(f"{name}.1")


def _convnet(net: _Builder, config: ArchitectureConfig, num_classes: int) -> None:
    assert isinstance(config, Convnet)
    stem, *widths = convnet_widths(config)
    net.conv("conv", stem, 5, 1, binary=False, bias=False)
    net.norm("bn")
    if not net.binarises:
        net.relu("relu")
    for index, (outputs, (_, stride)) in enumerate(zip(widths, CONVNET_BLOCKS, strict=True)):
        name = f"blocks.{index}"
        start, start_saved = (net.channels, net.size), net.saved
        net.conv(f"{name}.conv", outputs, 3, stride, binary=True, bias=False)
        net.norm(f"{name}.bn")
        if config.shortcuts and stride > 1:
            _downsample(net, f"{name}.downsample", outputs, stride, start, saved=start_saved)
        if not net.binarises or index == len(CONVNET_BLOCKS) - 1:
            net.relu(f"{name}.relu")
    net.avg_pool("avgpool", net.size // 2)
    net.linear("head", num_classes, binary=False)


_WALKS: dict[str, Callable[[_Builder, ArchitectureConfig, int], None]] = {
    "vgg16": _vgg16,
    "resnet18": _resnet18,
    "convnet": _convnet,
}


def _none(name: str) -> bool:
    """No layer."""
    del name
    return False


def layer_plan(
    config: ArchitectureConfig, num_classes: int, *, binarises: bool = True, full: Callable[[str], bool] = _none
) -> LayerPlan:
    """All layers of the network ``config`` with a head for ``num_classes``.

    Args:
        config: one of the rows of :data:`~fqt_core.config.ARCHITECTURES`.
        num_classes: at least 1.
        binarises: the network as :func:`fqt_core.convert.convert_` lays it out for a method that binarises, or as it
            is in full precision.
        full: says of a layer's name that it stays in full precision.

    Raises:
        ConfigurationError: no such architecture, or no class.
    """
    if num_classes < 1:
        raise ConfigurationError(f"num_classes must be at least 1, got {num_classes}")
    if config.name not in _WALKS:
        raise ConfigurationError(f"architecture {config.name!r} is unknown; use one of {', '.join(sorted(_WALKS))}")
    net = _Builder(config.channels, config.image_size, binarises, full)
    _WALKS[config.name](net, config, num_classes)
    return LayerPlan(net.layers)


def network_plan(config: ArchitectureConfig, num_classes: int, method: MethodConfig) -> NetworkPlan:
    """Sizes, work and memory of a network under ``method``, next to full precision.

    Raises:
        ConfigurationError: see :func:`layer_plan`.
    """
    full = layer_plan(config, num_classes, binarises=False)
    layers, could = full, full
    if method.binarises:
        layers = layer_plan(config, num_classes, full=lambda name: method.for_layer(name) is None)
        could = layer_plan(config, num_classes)
    scale = getattr(method, "weight_scale", "none")
    learned = sum(layer.out_channels for layer in layers if layer.binary) if scale == "learned" else 0
    steps, scales = (0, 0) if method.binarises else method.scales_per_layer
    quantised = max(0, len(layers.weight_layers) - 2)  # all but the first and the last
    learned += steps * quantised
    return NetworkPlan(
        layers=layers,
        parameters=layers.parameters + learned,
        binary_parameters=layers.binary_parameters,
        macs=layers.macs,
        binary_macs=layers.binary_macs,
        activation_bytes=layers.activation_bytes,
        fp32_activation_bytes=full.activation_bytes,
        model_bytes=layers.packed_bytes(scales=scale != "none") + _FLOAT_BYTES * (steps + scales) * quantised,
        fp32_bytes=full.fp32_bytes,
        gradient_bits=_gradient_bits(could, method),
        step_macs=_step_macs(layers, method),
    )


def _gradient_bits(layers: LayerPlan, method: MethodConfig) -> float:
    """Bits per gradient element, averaged over the layers that are binarised without overrides."""
    if method.converts and not method.binarises:
        return method.average_bits  # all its layers have the same
    binary = [layer for layer in layers if layer.binary]
    if not binary:
        return FULL_BITS
    bits = 0.0
    for layer in binary:
        own = method.for_layer(layer.name)
        bits += layer.gradient_elements * (FULL_BITS if own is None else own.average_bits)
    return bits / sum(layer.gradient_elements for layer in binary)


def _step_macs(layers: LayerPlan, method: MethodConfig) -> int:
    """Multiply-accumulates of one image's training step; the first layer has no dL/dX."""
    total = 0.0
    for number, layer in enumerate(layers.weight_layers):
        own = method.for_layer(layer.name) if layer.binary else None
        if own is not None and own.chooses_bits:
            own = None
        for_input = own.input_gradient if own is not None else None
        for_weight = own.weight_gradient if own is not None else None
        shares = (
            1.0,
            0.0 if number == 0 else 1.0 if for_input is None else for_input.keep,
            1.0 if for_weight is None else for_weight.keep,
        )
        total += layer.macs * sum(shares)
    return round(total)


def unmatched(config: ArchitectureConfig, method: MethodConfig) -> tuple[list[int], list[str]]:
    """Numbers of the overrides that fit no layer that could be binarised, and the names of those that could."""
    names = [layer.name for layer in layer_plan(config, 2) if layer.binary]
    lost = [
        number for number, override in enumerate(method.exceptions) if not any(override.matches(name) for name in names)
    ]
    return lost, names
