"""Fused chains, layout (H, W, N, C): the gradient of a block, its range, moments and codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fqt_core import ops
from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import (
    KEY,
    chain_signs,
    channel_vector,
    integers,
    nbytes,
    signs,
    some,
    weight_of,
)


def _hwnc_gradient_sums(layer: Layer) -> Iterator[Case]:
    y = integers(layer, *layer.output)
    for share, kept, _ in layer.shares(layer.samples):
        g = torch.randn(*layer.output, kept, layer.outputs)
        arguments = (g, y, some(layer.samples, kept), channel_vector(layer))
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
    def bits(self) -> int:
        """Of codes."""
        return 8 if self.dense else 4

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
        y = integers(layer, height, width)
        g = torch.randn(height, width, kept, layer.outputs)
        vectors = channel_vector(layer), channel_vector(layer), channel_vector(layer)
        choice = torch.randint(0, 4, y.shape, dtype=torch.uint8) if pooled else None
        arguments = (g, y, some(layer.samples, kept), *vectors)
        yield _Block(name, kept == layer.samples, arguments, channel_vector(layer), choice, size)


def _hwnc_gradient_range(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        arguments = (*block.arguments, block.alpha, block.choice is not None)
        yield Case(block.name, arguments, bytes=nbytes(block.g, block.y))


def _hwnc_gradient_moments(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        ranges = ops.hwnc_gradient_range(*block.arguments, block.alpha, block.choice is not None)
        zeros = 0 if block.choice is None else 3 * block.y.shape[0] * block.y.shape[1]
        yield Case(block.name, (*block.arguments, block.alpha, zeros, *ranges[:4]), bytes=nbytes(block.g, block.y))


def _hwnc_quantize_samples(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        lo, hi, *_ = ops.hwnc_gradient_range(*block.arguments, block.alpha, block.choice is not None)
        count = layer.samples if block.dense else layer.few_samples
        kept = some(layer.samples, count)
        places = block.y.numel() // layer.samples * count
        work = places * (4 + block.place_bytes + block.codes_per_element)
        ranges = lo[kept], hi[kept]
        arguments = (*block.arguments, block.alpha, block.choice, list(block.size), kept, *ranges, block.bits, *KEY)
        yield Case(f"{block.name}, {block.bits} bits", arguments, bytes=work)


def _hwnc_quantize_channels(layer: Layer) -> Iterator[Case]:
    for block in _blocks(layer):
        _, _, lo, hi, _ = ops.hwnc_gradient_range(*block.arguments, block.alpha, block.choice is not None)
        count = layer.outputs if block.dense else layer.few_channels
        kept = some(layer.outputs, count)
        share = count / layer.outputs
        work = block.g.numel() * 4 + block.y.numel() * (block.place_bytes + block.codes_per_element)
        ranges = lo[kept], hi[kept]
        arguments = (*block.arguments, block.choice, list(block.size), kept, *ranges, block.bits, *KEY)
        yield Case(f"{block.name}, {block.bits} bits", arguments, bytes=int(work * share))


def _hwnc_gradient_codes(layer: Layer) -> Iterator[Case]:
    constants = torch.rand(4, layer.outputs, dtype=torch.float64)
    for block in _blocks(layer):
        g, y, index, center, *_ = block.arguments
        counts = (layer.samples, layer.outputs) if block.dense else (layer.few_samples, layer.few_channels)
        source = g, y, index, center, constants, True, block.alpha, block.choice, list(block.size)
        arguments = (*source, list(counts), [block.bits] * 2, "systematic", *KEY[:3], [1, 0, 3, 2])
        share = counts[0] / layer.samples + counts[1] / layer.outputs
        places = y.numel() * (4 + block.place_bytes + block.codes_per_element)
        yield Case(f"{block.name}, {block.bits} bits", arguments, bytes=2 * nbytes(g, y) + int(places * share))


def _hwnc_chain_gradient(layer: Layer) -> Iterator[Case]:
    """A block of 1x1 taps on the layer's output, and the layer's own block."""
    height, width = layer.output
    signs_of_input = chain_signs(layer.samples, layer.channels, layer.height, layer.width)
    windows = [chain_signs(layer.samples, layer.outputs, height, width), signs_of_input]
    weights = [signs(layer.outputs, layer.outputs, 1, 1), weight_of(layer)]
    constants = [torch.rand(4, layer.outputs, dtype=torch.float64) for _ in range(2)]
    geometry = [1, 1, 0, 0, 1, 1, *(number for pair in layer.window for number in pair)]
    for block in _blocks(layer):
        if block.choice is not None:
            continue
        g, y, index, center, *_ = block.arguments
        counts = (layer.samples, layer.outputs) if block.dense else (layer.few_samples, layer.few_channels)
        source = g, index, [y, y], [None, None], [center, center], constants, [block.alpha, block.alpha]
        products = weights, windows, [layer.outputs, layer.channels], geometry
        arguments = (*source, *products, [*counts] * 2, [block.bits] * 4, "systematic", *KEY[:2], [1, 0], [1, 0, 3, 2])
        macs = layer.macs(counts[0], layer.outputs) + counts[0] * height * width * layer.outputs**2
        yield Case(f"{block.name}, {block.bits} bits", arguments, macs=macs, bits=block.bits)


CASES: CaseTable = {
    "hwnc_gradient_sums": _hwnc_gradient_sums,
    "hwnc_gradient_range": _hwnc_gradient_range,
    "hwnc_gradient_codes": _hwnc_gradient_codes,
    "hwnc_chain_gradient": _hwnc_chain_gradient,
    "hwnc_gradient_moments": _hwnc_gradient_moments,
    "hwnc_quantize_samples": _hwnc_quantize_samples,
    "hwnc_quantize_channels": _hwnc_quantize_channels,
}
