"""What each operation is measured on: arguments of real layers' shapes, and how much work they are.

:data:`CASES` has a row for each operation of :data:`fqt_core.ops.OPERATIONS`. Work is counted in multiply-accumulates
for products (taps outside the image are none), and else in bytes: each byte that has to be read or written counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fqt_core import ops

_KEPT_SHARE = 4
"""One in so many samples and channels is kept, as ``fqt`` does by default, where a case does not keep all."""

_KEY = (7, 1, 0, 2)
"""Seed, step, layer and purpose of random numbers."""


@dataclass(frozen=True)
class Layer:
    """A convolution with square kernel and its own padding; ``samples`` images of ``height`` x ``width`` pixels."""

    samples: int
    height: int
    width: int
    channels: int
    outputs: int
    stride: int = 1
    kernel: int = 3

    @property
    def name(self) -> str:
        """For people."""
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        return f"{self.height}x{self.width}, {self.channels} to {self.outputs}{stride}, {self.samples} samples"

    @property
    def padding(self) -> int:
        """On each side."""
        return self.kernel // 2

    @property
    def output(self) -> tuple[int, int]:
        """Pixels of the output, height first."""
        height, width = (
            (size + 2 * self.padding - self.kernel) // self.stride + 1 for size in (self.height, self.width)
        )
        return height, width

    @property
    def taps(self) -> int:
        """Pairs of an output pixel and a tap that lies inside the image."""
        product = 1
        for size, outputs in zip((self.height, self.width), self.output, strict=True):
            places = [o * self.stride - self.padding + t for o in range(outputs) for t in range(self.kernel)]
            product *= sum(0 <= place < size for place in places)
        return product

    @property
    def window(self) -> tuple[list[int], list[int], list[int]]:
        """Stride, padding, dilation."""
        return [self.stride] * 2, [self.padding] * 2, [1, 1]

    @property
    def kernel_size(self) -> list[int]:
        """Of the weight, height first."""
        return [self.kernel] * 2

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
        return self.taps * self.channels * samples * outputs


@dataclass(frozen=True)
class Case:
    """One call that is measured. Either ``macs`` or ``bytes`` is above 0."""

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


def _signs(*shape: int) -> Tensor:
    """Sign words of noise (N, C, H, W) as (N, H, W, ceil(C / 64))."""
    return ops.pack_sign(torch.randn(shape))


def _chain_signs(samples: int, channels: int, height: int, width: int) -> Tensor:
    """The same as (H, W, N, ceil(C / 64))."""
    return _signs(samples, channels, height, width).permute(1, 2, 0, 3).contiguous()


def _weight(layer: Layer) -> Tensor:
    return _signs(layer.outputs, layer.channels, *layer.kernel_size)


def _some(count: int, kept: int) -> Tensor:
    """``kept`` of ``count`` numbers, evenly spread and rising."""
    return torch.arange(kept) * count // kept


def _codes(*shape: int, bits: int) -> Tensor:
    return torch.randint(0, 1 << bits, shape, dtype=torch.uint8)


def _bytes(*values: Any) -> int:
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))


def _images(layer: Layer) -> Tensor:
    return torch.randn(layer.samples, layer.channels, layer.height, layer.width)


def _word_bytes(x: Tensor) -> int:
    """Bytes of the words for float32 (N, C, *)."""
    return x.numel() // x.shape[1] * -(-x.shape[1] // 64) * 8


def _pack_sign(layer: Layer) -> Iterator[Case]:
    x = _images(layer)
    yield Case("", (x,), bytes=_bytes(x) + _word_bytes(x))


def _pack_sign_window(layer: Layer) -> Iterator[Case]:
    x = _images(layer)
    yield Case("", (x,), bytes=_bytes(x) + 2 * _word_bytes(x))


def _unpack_sign(layer: Layer) -> Iterator[Case]:
    x = _images(layer)
    yield Case("", (ops.pack_sign(x), layer.channels), bytes=_bytes(x) + _word_bytes(x))


def _apply_window(layer: Layer) -> Iterator[Case]:
    x = _images(layer)
    yield Case("", (x, ops.pack_sign(x)), bytes=2 * _bytes(x) + _word_bytes(x))


def _binary_conv2d(layer: Layer) -> Iterator[Case]:
    x = _signs(layer.samples, layer.channels, layer.height, layer.width)
    yield Case("", (x, _weight(layer), layer.channels, *layer.window, 1), macs=layer.macs(layer.samples, layer.outputs))


def _binary_linear(layer: Layer) -> Iterator[Case]:
    """The layer's input, flattened."""
    features = layer.channels * layer.height * layer.width
    x, weight = _signs(layer.samples, features), _signs(layer.outputs, features)
    yield Case("", (x, weight, features), macs=layer.samples * layer.outputs * features)


def _gradient(layer: Layer) -> Tensor:
    return torch.randn(layer.samples, layer.outputs, *layer.output)


_GROUPS = {0: "samples", 1: "channels"}


def _group_range(layer: Layer) -> Iterator[Case]:
    g = _gradient(layer)
    for dim, groups in _GROUPS.items():
        yield Case(groups, (g, dim), bytes=_bytes(g))


def _group_moments(layer: Layer) -> Iterator[Case]:
    g = _gradient(layer)
    for dim, groups in _GROUPS.items():
        yield Case(groups, (g, dim, *ops.group_range(g, dim)), bytes=_bytes(g))


def _select_groups(layer: Layer) -> Iterator[Case]:
    hi = torch.rand(layer.outputs) + 0.1
    for pruning in ("topk", "bernoulli", "systematic"):
        yield Case(pruning, (-hi, hi, layer.few_channels, pruning, *_KEY), bytes=2 * _bytes(hi))


def _kept_ranges(layer: Layer) -> Iterator[Case]:
    hi, kept = torch.rand(layer.outputs) + 0.1, layer.few_channels
    yield Case("", (-hi, hi, _some(layer.outputs, kept), torch.ones(kept), 4), bytes=36 * kept)


def _quantize_groups(layer: Layer) -> Iterator[Case]:
    g = _gradient(layer)
    for dim, groups in _GROUPS.items():
        count = g.shape[dim]
        for share, kept, bits in (("a quarter", -(-count // _KEPT_SHARE), 4), ("all", count, 8)):
            index = _some(count, kept)
            lo, hi = (found[index] for found in ops.group_range(g, dim))
            elements = g.numel() // count * kept
            yield Case(f"{groups}, {share}, {bits} bits", (g, dim, index, lo, hi, bits, *_KEY), bytes=elements * 5)


def _conv2d_input_gradient(layer: Layer) -> Iterator[Case]:
    weight = _weight(layer)
    for share, kept, bits in (("a quarter", layer.few_samples, 4), ("all", layer.samples, 8)):
        codes = _codes(kept, *layer.output, layer.outputs, bits=bits)
        arguments = (codes, weight, layer.channels, [layer.height, layer.width], *layer.window, 1)
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(kept, layer.outputs), bits=bits)


def _conv2d_weight_gradient(layer: Layer) -> Iterator[Case]:
    x = _signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in (("a quarter", layer.few_channels, 4), ("all", layer.outputs, 8)):
        codes = _codes(kept, layer.samples, *layer.output, bits=bits)
        sizes = (layer.channels, layer.outputs, layer.kernel_size)
        arguments = (x, codes, _some(layer.outputs, kept), *sizes, *layer.window, 1)
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(layer.samples, kept), bits=bits)


def _latents(layer: Layer) -> Tensor:
    """A weight as rows (D, T, C)."""
    return torch.randn(layer.outputs, layer.kernel**2, layer.channels).clamp_(-1, 1)


def _mean_magnitude(layer: Layer) -> Iterator[Case]:
    weight = _latents(layer)
    yield Case("", (weight,), bytes=_bytes(weight))


def _adam_binary(layer: Layer) -> Iterator[Case]:
    weight = _latents(layer)
    for share, kept in (("a quarter", layer.few_channels), ("all", layer.outputs)):
        state = torch.zeros_like(weight), torch.zeros_like(weight)
        gradient = torch.randn(kept, *weight.shape[1:])
        options = (1e-3, 0.9, 0.999, 1e-8, 1e-5, 1, True)
        words = weight.numel() // layer.channels * -(-layer.channels // 64) * 8
        arguments = (weight.clone(), *state, gradient, _some(layer.outputs, kept), *options)
        yield Case(share, arguments, bytes=6 * _bytes(weight) + _bytes(gradient) + words)


# --- pixel rows: half of them are kept, at two bits -------------------------------------------------------------------


def _rows(layer: Layer) -> Tensor:
    """Numbers of the kept pixel rows."""
    count = layer.samples * layer.output[0] * layer.output[1]
    return _some(count, -(-count // 2))


def _uniform_numbers(layer: Layer) -> Iterator[Case]:
    count = layer.samples * layer.output[0] * layer.output[1]
    yield Case("", (torch.zeros(1, dtype=torch.int64), count, *_KEY), bytes=4 * count)


def _pixel_square_sums(layer: Layer) -> Iterator[Case]:
    g = _gradient(layer)
    yield Case("", (g,), bytes=_bytes(g))


def _pixel_gather(layer: Layer) -> Iterator[Case]:
    g, index = _gradient(layer), _rows(layer)
    for variant, by_row in (("rows of pixels", True), ("rows of channels", False)):
        yield Case(variant, (g, index, torch.ones(len(index)), by_row), bytes=8 * len(index) * layer.outputs)


def _quantize_dithered(layer: Layer) -> Iterator[Case]:
    values = torch.randn(len(_rows(layer)), layer.outputs)
    groups, size = values.shape
    ranges = values.amin(1), values.amax(1)
    dither = torch.ones(size), torch.zeros(size, dtype=torch.uint8), torch.rand(groups, 1) - 0.5
    yield Case("", (values, *ranges, *dither, 2), bytes=5 * values.numel())


def _pixel_input_gradient(layer: Layer) -> Iterator[Case]:
    index = _rows(layer)
    codes = _codes(len(index), layer.outputs, bits=2)
    vectors = (*(torch.rand(len(index)) for _ in range(3)), torch.ones(layer.outputs))
    sizes = (layer.samples, layer.channels, [layer.height, layer.width])
    macs = layer.macs(layer.samples, layer.outputs) // 2
    for variant, outside in (("scale per row", vectors), ("no scale", (None,) * 4)):
        yield Case(variant, (codes, 2, index, *outside, _weight(layer), *sizes, *layer.window, 1), macs=macs)


def _pixel_weight_gradient(layer: Layer) -> Iterator[Case]:
    x, index = _signs(layer.samples, layer.channels, layer.height, layer.width), _rows(layer)
    codes = _codes(layer.outputs, len(index), bits=2)
    sizes = (layer.channels, layer.outputs, layer.kernel_size)
    arguments = (x, codes, 2, index, torch.arange(layer.outputs), *sizes, *layer.window, 1)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs) // 2)


# --- products of bytes ------------------------------------------------------------------------------------------------


def _some_bytes(*shape: int) -> Tensor:
    return torch.randint(-127, 128, shape, dtype=torch.int8)


def _pixels_of_bytes(layer: Layer) -> Tensor:
    return _some_bytes(layer.samples, layer.height, layer.width, layer.channels)


def _weight_of_bytes(layer: Layer) -> Tensor:
    return _some_bytes(layer.outputs, *layer.kernel_size, layer.channels)


def _int8_conv2d(layer: Layer) -> Iterator[Case]:
    arguments = (_pixels_of_bytes(layer), _weight_of_bytes(layer), 0, *layer.window)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs), bits=8)


def _int8_input_gradient(layer: Layer) -> Iterator[Case]:
    codes = _some_bytes(layer.samples, *layer.output, layer.outputs)
    arguments = (codes, _weight_of_bytes(layer), [layer.height, layer.width], *layer.window)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs), bits=8)


def _int8_weight_gradient(layer: Layer) -> Iterator[Case]:
    codes = _some_bytes(layer.outputs, layer.samples, *layer.output)
    arguments = (_pixels_of_bytes(layer), codes, layer.kernel_size, *layer.window)
    yield Case("", arguments, macs=layer.macs(layer.samples, layer.outputs), bits=8)


# --- fused chains: layout H, W, N, C ---------------------------------------------------------------------------------


def _integers(layer: Layer, height: int, width: int) -> Tensor:
    return torch.randint(-40, 41, (height, width, layer.samples, layer.outputs), dtype=torch.int16)


def _channel(layer: Layer) -> Tensor:
    """A vector with a number for each output channel, none near 0."""
    return torch.rand(layer.outputs) * 0.02 + 0.01


def _hwnc_binary_conv2d(layer: Layer) -> Iterator[Case]:
    x = _chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    yield Case("", (x, _weight(layer), layer.channels, *layer.window), macs=layer.macs(layer.samples, layer.outputs))


def _hwnc_max_pool2d(layer: Layer) -> Iterator[Case]:
    y = _integers(layer, *layer.output)
    flip = torch.randint(0, 2, (layer.outputs,), dtype=torch.uint8)
    yield Case("", (y, flip), bytes=_bytes(y) + y.numel() // 4 * 3)


def _hwnc_affine_sign(layer: Layer) -> Iterator[Case]:
    y = _integers(layer, *layer.output)
    residual = torch.randn(y.shape)
    vectors = _channel(layer), _channel(layer)
    words = 2 * y.numel() // layer.outputs * -(-layer.outputs // 64) * 8
    yield Case("", (y, *vectors, None, False), bytes=_bytes(y) + words)
    yield Case("residual", (y, *vectors, residual, True), bytes=_bytes(y) + words + 2 * _bytes(residual))


def _hwnc_normalization(layer: Layer) -> Iterator[Case]:
    rows, ones = layer.samples * layer.output[0] * layer.output[1], torch.ones(layer.outputs)
    first, second = (torch.full((layer.outputs,), value, dtype=torch.int64) for value in (rows, 3 * rows))
    arguments = (ones.clone(), ones.clone(), ones, ones, ones, None, None, first, second, rows, 0.1, 1e-5)
    yield Case("", arguments, bytes=layer.outputs * 88)


def _hwnc_normalization_gradient(layer: Layer) -> Iterator[Case]:
    total, moment = torch.randn(2, layer.outputs, dtype=torch.float64)
    arguments = (total, moment, torch.ones(4, layer.outputs, dtype=torch.float64), layer.samples, True)
    yield Case("", arguments, bytes=layer.outputs * 72)


def _hwnc_gradient_sums(layer: Layer) -> Iterator[Case]:
    y = _integers(layer, *layer.output)
    for share, kept in (("a quarter", layer.few_samples), ("all", layer.samples)):
        g = torch.randn(*layer.output, kept, layer.outputs)
        arguments = (g, y, _some(layer.samples, kept), _channel(layer))
        yield Case(share, arguments, bytes=g.numel() * 6)


@dataclass(frozen=True)
class _Block:
    """The gradient of a block whose next layer gave that of one in four samples, or of all."""

    name: str
    dense: bool
    arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
    alpha: Tensor
    choice: Tensor | None
    size: tuple[int, int]

    @property
    def g(self) -> Tensor:
        return self.arguments[0]

    @property
    def y(self) -> Tensor:
        return self.arguments[1]

    @property
    def place_bytes(self) -> int:
        """Bytes of y, and of the choice, for each element of y."""
        return 2 + (self.choice is not None)

    @property
    def codes_per_element(self) -> int:
        """Elements of the product for each element of y."""
        return self.size[0] * self.size[1] // (self.y.shape[0] * self.y.shape[1])


def _blocks(layer: Layer) -> Iterator[_Block]:
    size = layer.output
    for name, kept, pooled in (
        ("a quarter", layer.few_samples, False),
        ("a quarter, pooled", layer.few_samples, True),
        ("all", layer.samples, False),
    ):
        height, width = (size[0] // 2, size[1] // 2) if pooled else size
        y = _integers(layer, height, width)
        g = torch.randn(height, width, kept, layer.outputs)
        vectors = _channel(layer), _channel(layer), _channel(layer)
        choice = torch.randint(0, 4, y.shape, dtype=torch.uint8) if pooled else None
        arguments = (g, y, _some(layer.samples, kept), *vectors)
        yield _Block(name, kept == layer.samples, arguments, _channel(layer), choice, size)


def _hwnc_gradient_range(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        arguments = (*block.arguments, block.alpha, block.choice is not None)
        yield Case(block.name, arguments, bytes=_bytes(block.g, block.y))


def _hwnc_gradient_moments(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        ranges = ops.hwnc_gradient_range(*block.arguments, block.alpha, block.choice is not None)
        zeros = 0 if block.choice is None else 3 * block.y.shape[0] * block.y.shape[1]
        yield Case(block.name, (*block.arguments, block.alpha, zeros, *ranges[:4]), bytes=_bytes(block.g, block.y))


def _hwnc_quantize_samples(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        lo, hi, *_ = ops.hwnc_gradient_range(*block.arguments, block.alpha, block.choice is not None)
        count = layer.samples if block.dense else layer.few_samples
        kept = _some(layer.samples, count)
        bits = 8 if block.dense else 4
        places = block.y.numel() // layer.samples * count
        work = places * (4 + block.place_bytes + block.codes_per_element)
        ranges = lo[kept], hi[kept]
        arguments = (*block.arguments, block.alpha, block.choice, list(block.size), kept, *ranges, bits, *_KEY)
        yield Case(f"{block.name}, {bits} bits", arguments, bytes=work)


def _hwnc_quantize_channels(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        _, _, lo, hi, _ = ops.hwnc_gradient_range(*block.arguments, block.alpha, block.choice is not None)
        count = layer.outputs if block.dense else layer.few_channels
        kept = _some(layer.outputs, count)
        bits = 8 if block.dense else 4
        share = count / layer.outputs
        work = block.g.numel() * 4 + block.y.numel() * (block.place_bytes + block.codes_per_element)
        ranges = lo[kept], hi[kept]
        arguments = (*block.arguments, block.choice, list(block.size), kept, *ranges, bits, *_KEY)
        yield Case(f"{block.name}, {bits} bits", arguments, bytes=int(work * share))


def _hwnc_input_gradient(layer: Layer) -> Iterator[Case]:
    weight = _weight(layer)
    window = _chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in (("a quarter", layer.few_samples, 4), ("all", layer.samples, 8)):
        codes = _codes(*layer.output, kept, layer.outputs, bits=bits)
        affine = torch.randn(kept), torch.randn(kept)
        sizes = (layer.channels, [layer.height, layer.width])
        arguments = (codes, weight, *sizes, *layer.window, *affine, window, _some(layer.samples, kept))
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(kept, layer.outputs), bits=bits)


def _hwnc_weight_gradient(layer: Layer) -> Iterator[Case]:
    x = _chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in (("a quarter", layer.few_channels, 4), ("all", layer.outputs, 8)):
        codes = _codes(*layer.output, kept, -(-layer.samples // 4) * 4, bits=bits)
        codes[..., layer.samples :] = 0
        affine = torch.randn(kept), torch.randn(kept)
        arguments = (x, codes, layer.channels, layer.kernel_size, *layer.window, *affine)
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(layer.samples, kept), bits=bits)


def _hwnc_add_rows(layer: Layer) -> Iterator[Case]:
    target = torch.randn(layer.height, layer.width, layer.samples, layer.channels)
    rows = torch.randn(layer.height, layer.width, layer.few_samples, layer.channels)
    yield Case("", (target, rows, _some(layer.samples, layer.few_samples)), bytes=3 * _bytes(rows))


def _pixels(layer: Layer) -> Tensor:
    """Floats where a chain begins, (N, H, W, C)."""
    return _images(layer).permute(0, 2, 3, 1).contiguous()


def _input_channel(layer: Layer) -> Tensor:
    return torch.rand(layer.channels) * 0.02 + 0.01


def _hwnc_entry_moments(layer: Layer) -> Iterator[Case]:
    x = _pixels(layer)
    yield Case("", (x,), bytes=_bytes(x))


def _hwnc_enter(layer: Layer) -> Iterator[Case]:
    x, words = _pixels(layer), 2 * layer.samples * layer.height * layer.width * -(-layer.channels // 64) * 8
    for variant, keep in (("", False), ("floats kept", True)):
        arguments = (x, _input_channel(layer), _input_channel(layer), keep)
        yield Case(variant, arguments, bytes=_bytes(x) * (1 + keep) + words)


def _entry_gradient(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.randn(layer.height, layer.width, layer.few_samples, layer.channels)
    return g, _some(layer.samples, layer.few_samples), _pixels(layer)


def _hwnc_entry_sums(layer: Layer) -> Iterator[Case]:
    g, index, x = _entry_gradient(layer)
    yield Case("", (g, index, x, _input_channel(layer)), bytes=2 * _bytes(g))


def _hwnc_leave(layer: Layer) -> Iterator[Case]:
    g, index, x = _entry_gradient(layer)
    vectors = tuple(_input_channel(layer) for _ in range(3))
    yield Case("", (g, index, x, *vectors), bytes=_bytes(g) + 2 * _bytes(x))


CASES: dict[str, Callable[[Layer], Iterator[Case]]] = {
    "pack_sign": _pack_sign,
    "pack_sign_window": _pack_sign_window,
    "unpack_sign": _unpack_sign,
    "apply_window": _apply_window,
    "binary_conv2d": _binary_conv2d,
    "binary_linear": _binary_linear,
    "group_range": _group_range,
    "group_moments": _group_moments,
    "select_groups": _select_groups,
    "kept_ranges": _kept_ranges,
    "quantize_groups": _quantize_groups,
    "conv2d_input_gradient": _conv2d_input_gradient,
    "conv2d_weight_gradient": _conv2d_weight_gradient,
    "mean_magnitude": _mean_magnitude,
    "adam_binary_": _adam_binary,
    "uniform_numbers": _uniform_numbers,
    "pixel_square_sums": _pixel_square_sums,
    "pixel_gather": _pixel_gather,
    "quantize_dithered": _quantize_dithered,
    "pixel_input_gradient": _pixel_input_gradient,
    "pixel_weight_gradient": _pixel_weight_gradient,
    "int8_conv2d": _int8_conv2d,
    "int8_input_gradient": _int8_input_gradient,
    "int8_weight_gradient": _int8_weight_gradient,
    "hwnc_binary_conv2d": _hwnc_binary_conv2d,
    "hwnc_max_pool2d": _hwnc_max_pool2d,
    "hwnc_affine_sign": _hwnc_affine_sign,
    "hwnc_normalization": _hwnc_normalization,
    "hwnc_normalization_gradient": _hwnc_normalization_gradient,
    "hwnc_gradient_sums": _hwnc_gradient_sums,
    "hwnc_gradient_range": _hwnc_gradient_range,
    "hwnc_gradient_moments": _hwnc_gradient_moments,
    "hwnc_quantize_samples": _hwnc_quantize_samples,
    "hwnc_quantize_channels": _hwnc_quantize_channels,
    "hwnc_input_gradient": _hwnc_input_gradient,
    "hwnc_weight_gradient": _hwnc_weight_gradient,
    "hwnc_add_rows": _hwnc_add_rows,
    "hwnc_entry_moments": _hwnc_entry_moments,
    "hwnc_enter": _hwnc_enter,
    "hwnc_entry_sums": _hwnc_entry_sums,
    "hwnc_leave": _hwnc_leave,
}
"""By operation: its cases for a layer."""
