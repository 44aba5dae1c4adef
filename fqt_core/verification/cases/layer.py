"""The layers that cases are made for: of networks, to measure, and with shapes that hurt, to verify."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

_KEPT_SHARE = 4
"""One in so many samples and channels is kept, as ``fqt`` does by default, where a case does not keep all."""

Values: TypeAlias = Literal["noise", "ties", "unequal", "zeros", "subnormal", "huge", "constant"]
"""What a gradient is made of; ``unequal``: samples of very different size, ``zeros``: groups without any."""


@dataclass(frozen=True)
class Layer:
    """A convolution with square kernel and its own padding; ``samples`` images of ``height`` x ``width`` pixels.

    ``edge``: there are also cases that are of no use to measure, such as those that keep nothing.
    """

    samples: int
    height: int
    width: int
    channels: int
    outputs: int
    stride: int = 1
    kernel: int = 3
    dilation: int = 1
    groups: int = 1
    values: Values = "noise"
    edge: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [f"{self.height}x{self.width}", f"{self.channels} to {self.outputs}"]
        for word, value in (("stride", self.stride), ("dilation", self.dilation), ("groups", self.groups)):
            parts += [f"{word} {value}"] if value > 1 else []
        parts += [self.values] if self.values != "noise" else []
        return ", ".join([*parts, f"{self.samples} samples"])

    @property
    def padding(self) -> int:
        """On each side."""
        return self.dilation * (self.kernel // 2)

    @property
    def output(self) -> tuple[int, int]:
        """Pixels of the output, height first."""
        height, width = (
            (size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1
            for size in (self.height, self.width)
        )
        return height, width

    @property
    def taps(self) -> int:
        """Pairs of an output pixel and a tap that lies inside the image."""
        product = 1
        for size, outputs in zip((self.height, self.width), self.output, strict=True):
            starts = [output * self.stride - self.padding for output in range(outputs)]
            places = [start + tap * self.dilation for start in starts for tap in range(self.kernel)]
            product *= sum(0 <= place < size for place in places)
        return product

    @property
    def window(self) -> tuple[list[int], list[int], list[int]]:
        """Stride, padding, dilation."""
        return [self.stride] * 2, [self.padding] * 2, [self.dilation] * 2

    @property
    def kernel_size(self) -> list[int]:
        """Of the weight, height first."""
        return [self.kernel] * 2

    def shares(self, count: int) -> Iterator[tuple[str, int, int]]:
        """Ways to keep some of ``count`` groups: a name, how many are kept, and the bits of their codes."""
        yield "a quarter", -(-count // _KEPT_SHARE), 4
        yield "all", count, 8
        if self.edge:
            yield "none", 0, 2

    @property
    def few_samples(self) -> int:
        """How many samples pruning keeps."""
        return -(-self.samples // _KEPT_SHARE)

    @property
    def few_channels(self) -> int:
        """How many output channels pruning keeps."""
        return -(-self.outputs // _KEPT_SHARE)

    def macs(self, samples: int, outputs: int) -> int:
        """Multiply-accumulates of a product with some of the samples and outputs."""
        return self.taps * self.channels // self.groups * samples * outputs


@dataclass(frozen=True)
class Case:
    """One call. Either ``macs`` or ``bytes`` is above 0, but for cases that keep nothing."""

    variant: str
    arguments: tuple[Any, ...]
    macs: int = 0
    bytes: int = 0
    bits: int = 1
    """Of what a product takes beside signs: more than signs if these are codes of a gradient."""


VGG = tuple(
    Layer(128, size, size, channels, outputs)
    for size, channels, outputs in [(32, 64, 64), (16, 128, 128), (8, 256, 256), (4, 512, 512), (2, 512, 512)]
)
RESNET = (Layer(16, 56, 56, 64, 64), Layer(16, 56, 56, 64, 128, stride=2))
RESIDENT = Layer(32, 4, 4, 256, 256)
"""Small enough for the second-level cache, and large enough for a product to run at its full speed."""

LAYERS = (*VGG, *RESNET, RESIDENT)
"""What is measured: stages of VGG-16 on 32 pixels and of ResNet-18 on 224, and the best case."""

SHAPES = tuple(
    replace(layer, edge=True)
    for layer in (
        Layer(1, 1, 1, 1, 1, kernel=1),
        Layer(2, 3, 4, 3, 5, values="zeros"),
        Layer(3, 5, 7, 65, 17, stride=2, values="unequal"),
        Layer(5, 6, 5, 63, 33, dilation=2, values="ties"),
        Layer(2, 1, 9, 64, 64, values="constant"),
        Layer(3, 2, 2, 31, 2, values="subnormal"),
        Layer(3, 4, 3, 2, 6, stride=3, values="huge"),
        Layer(6, 6, 7, 70, 70),
        Layer(300, 2, 3, 2, 3, values="ties"),
    )
)
"""What is verified: borders of words, of warps and of blocks, one sample, one channel, one pixel."""

GROUPED = tuple(
    replace(layer, edge=True)
    for layer in (
        Layer(2, 5, 6, 6, 9, groups=3),
        Layer(3, 4, 4, 132, 66, groups=2, stride=2),
        Layer(2, 5, 5, 7, 7, groups=7, dilation=2),
    )
)
"""The same for operations that know groups of channels: several, of more than one word, and one for each channel."""

CaseTable: TypeAlias = dict[str, Callable[[Layer], Iterator[Case]]]
