"""The operations of fused chains, in the layout H, W, N, C: pixels outermost, then samples, channels side by side.

Rows of one pixel share the taps that lie inside the image, so products skip the others and padding is exact; sums over
rows run with channels in the lanes of a vector, so their order, and with it every float, is the same on every
instruction set. Layouts change only at the ends of a chain (:mod:`fqt_core.fused`).
"""

from __future__ import annotations

from fqt_core.ops.hwnc.block import hwnc_block_forward
from fqt_core.ops.hwnc.chain import hwnc_chain_forward, hwnc_chain_gradient
from fqt_core.ops.hwnc.codes import hwnc_gradient_codes
from fqt_core.ops.hwnc.entry import hwnc_enter, hwnc_entry_moments, hwnc_entry_sums, hwnc_leave
from fqt_core.ops.hwnc.forward import hwnc_affine_sign, hwnc_binary_conv2d, hwnc_max_pool2d
from fqt_core.ops.hwnc.gradient import (
    hwnc_gradient_range,
    hwnc_gradient_sums,
    hwnc_quantize_channels,
    hwnc_quantize_samples,
)
from fqt_core.ops.hwnc.moments import hwnc_gradient_moments
from fqt_core.ops.hwnc.normalization import hwnc_normalization, hwnc_normalization_gradient
from fqt_core.ops.hwnc.products import hwnc_add_rows, hwnc_input_gradient, hwnc_weight_gradient

__all__ = [
    "hwnc_add_rows",
    "hwnc_affine_sign",
    "hwnc_binary_conv2d",
    "hwnc_block_forward",
    "hwnc_chain_forward",
    "hwnc_chain_gradient",
    "hwnc_enter",
    "hwnc_entry_moments",
    "hwnc_entry_sums",
    "hwnc_gradient_codes",
    "hwnc_gradient_moments",
    "hwnc_gradient_range",
    "hwnc_gradient_sums",
    "hwnc_input_gradient",
    "hwnc_leave",
    "hwnc_max_pool2d",
    "hwnc_normalization",
    "hwnc_normalization_gradient",
    "hwnc_quantize_channels",
    "hwnc_quantize_samples",
    "hwnc_weight_gradient",
]
