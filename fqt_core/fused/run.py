"""The backward pass of several blocks in one operation, where what they keep is small."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fqt_core import ops
from fqt_core.config import GradientQuantizer
from fqt_core.fused.backward import deferred_gradient
from fqt_core.fused.codes import CHANNEL_PURPOSES, SAMPLE_PURPOSES, are_found_in_one
from fqt_core.fused.forward import Record
from fqt_core.fused.rows import PendingRows, RowGradient
from fqt_core.layers import BinaryConv2d
from fqt_core.ops.hwnc.chain import GRADIENT_RESULTS, entries
from fqt_core.quantizers import agp

RUN_BYTES = 20 << 20
"""What forward kept of the blocks of a run, at most: it goes when the whole of it is done, not block by block."""


def run_length(records: Sequence[Record], deferred: Sequence[bool]) -> int:
    """How many of the last blocks go back in one operation; 0 if the last one goes by itself.

    Args:
        records: of the forward pass. The first block is never among them, for the chain's entry takes its gradient in
            parts.
        deferred: for each whether the gradient of its weight is (:func:`~fqt_core.fused.backward.defers`).
    """
    count = room = 0
    for record, later in zip(reversed(records[1:]), reversed(deferred[1:]), strict=True):
        room += _bytes_of(record)
        if room > RUN_BYTES or not (later and _joins(record) and _are_alike(record, records[-1])):
            break
        count += 1
    return count if count > 1 else 0


def _bytes_of(record: Record) -> int:
    kept = (record.signs, record.window, record.y, record.choice)
    return sum(tensor.nbytes for tensor in kept if tensor is not None)


def _joins(record: Record) -> bool:
    quantizers = _quantizers(record)
    plain = record.block.shortcut is None and record.y is not None and record.norm.batch
    return plain and not _layer(record).collect_statistics and are_found_in_one(record, *quantizers)


def _are_alike(one: Record, other: Record) -> bool:
    """Whether two blocks choose groups in the same way, and draw random numbers for the same step."""
    return _layer(one).state is _layer(other).state and _quantizers(one)[0].pruning == _quantizers(other)[0].pruning


def _layer(record: Record) -> BinaryConv2d:
    layer = record.block.conv
    assert isinstance(layer, BinaryConv2d)
    return layer


def _quantizers(record: Record) -> tuple[GradientQuantizer, GradientQuantizer]:
    samples, channels = _layer(record).quantizers
    assert samples is not None
    assert channels is not None
    return samples, channels


def run_back(
    records: list[Record], length: int, gradient: list[RowGradient | PendingRows], found: dict[Tensor, Tensor]
) -> RowGradient:
    """The blocks of a run, the last of the chain first; their parameters' gradients go into ``found``, or to layers.

    Args:
        records: those of blocks that are done are taken out. The run ends before one whose gradient is not finite, or
            is zero.
        length: of the run (:func:`run_length`).
        gradient: dL/dh of the last block, which is taken out of the list.
    """
    run = records[: -length - 1 : -1]
    g = gradient.pop().whole()
    alphas = [g.rows.new_ones(r.norm.center.shape) if r.alpha is None else r.alpha for r in run]
    layers, products = [_layer(record) for record in run], [record.block.product for record in run]
    quantizers = [_quantizers(record) for record in run]
    samples = run[0].signs.shape[2]
    first, *others = layers[0].state.keys(layers[0].layer_index, (*SAMPLE_PURPOSES, *CHANNEL_PURPOSES))
    rows, index, parts = ops.hwnc_chain_gradient(
        g.rows,
        g.index,
        [record.y for record in run if record.y is not None],
        [record.choice for record in run],
        [record.norm.center for record in run],
        [record.norm.constants for record in run],
        alphas,
        [record.weight_words for record in run],
        [record.window for record in run],
        [product.channels for product in products],
        [number for p in products for pair in (p.stride, p.padding, p.dilation) for number in pair],
        [
            agp.kept_count(*of)
            for (one, other), product in zip(quantizers, products, strict=True)
            for of in ((samples, one.keep), (product.outputs, other.keep))
        ],
        [quantizer.bits for pair in quantizers for quantizer in pair],
        quantizers[0][0].pruning,
        first.seed,
        first.step,
        [layer.layer_index for layer in layers],
        (first.purpose, *(key.purpose for key in others)),
    )
    for alpha, layer, (weight, shift, bias, *made) in zip(
        alphas, layers, entries(parts, GRADIENT_RESULTS), strict=False
    ):
        record = records.pop()
        norm = record.block.norm
        assert isinstance(norm, nn.BatchNorm2d)
        found |= {norm.weight: weight, norm.bias: shift}
        if layer.bias is not None:
            found[layer.bias] = bias
        codes, kept, scale, offset = made
        layer.add_compact_gradient(deferred_gradient(record, alpha, codes, kept, scale, offset))
    return RowGradient(rows, index)
