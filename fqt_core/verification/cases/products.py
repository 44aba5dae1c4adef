"""Products of bits, and of codes and bits."""

from __future__ import annotations

from collections.abc import Iterator

from fqt_core.verification.cases.layer import Case, CaseTable, Layer
from fqt_core.verification.cases.values import codes_of, signs, some, weight_of


def _binary_conv2d(layer: Layer) -> Iterator[Case]:
    x = signs(layer.samples, layer.channels, layer.height, layer.width)
    yield Case(
        "",
        (x, weight_of(layer), layer.channels, *layer.window, layer.groups),
        macs=layer.macs(layer.samples, layer.outputs),
    )


def _binary_linear(layer: Layer) -> Iterator[Case]:
    """The layer's input, flattened."""
    features = layer.channels * layer.height * layer.width
    x, weight = signs(layer.samples, features), signs(layer.outputs, features)
    yield Case("", (x, weight, features), macs=layer.samples * layer.outputs * features)


def _conv2d_input_gradient(layer: Layer) -> Iterator[Case]:
    weight = weight_of(layer)
    for share, kept, bits in layer.shares(layer.samples):
        codes = codes_of(kept, *layer.output, layer.outputs, bits=bits)
        arguments = (codes, weight, layer.channels, [layer.height, layer.width], *layer.window, layer.groups)
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(kept, layer.outputs), bits=bits)


def _conv2d_weight_gradient(layer: Layer) -> Iterator[Case]:
    x = signs(layer.samples, layer.channels, layer.height, layer.width)
    for share, kept, bits in layer.shares(layer.outputs):
        codes = codes_of(kept, layer.samples, *layer.output, bits=bits)
        sizes = (layer.channels, layer.outputs, layer.kernel_size)
        arguments = (x, codes, some(layer.outputs, kept), *sizes, *layer.window, layer.groups)
        yield Case(f"{share}, {bits} bits", arguments, macs=layer.macs(layer.samples, kept), bits=bits)


CASES: CaseTable = {
    "binary_conv2d": _binary_conv2d,
    "binary_linear": _binary_linear,
    "conv2d_input_gradient": _conv2d_input_gradient,
    "conv2d_weight_gradient": _conv2d_weight_gradient,
}
