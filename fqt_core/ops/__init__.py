"""The operations ``fqt::*``: each with schema, fake kernel, reference and, on the CPU, native kernels.

The reference is the specification: every native kernel gives the same integers. Environment variable ``FQT_ISA``
chooses: ``reference``, the name of an instruction set, or ``auto`` (the default: the fastest there is).
"""

from __future__ import annotations

from fqt_core.ops import native
from fqt_core.ops.adam import adam_binary_, adam_binary_all_, mean_magnitude
from fqt_core.ops.backward import conv2d_input_gradient, conv2d_weight_gradient
from fqt_core.ops.forward import binary_conv2d, binary_linear
from fqt_core.ops.hwnc import (
    hwnc_add_rows,
    hwnc_affine_sign,
    hwnc_binary_conv2d,
    hwnc_block_forward,
    hwnc_chain_forward,
    hwnc_chain_gradient,
    hwnc_enter,
    hwnc_entry_moments,
    hwnc_entry_sums,
    hwnc_gradient_codes,
    hwnc_gradient_moments,
    hwnc_gradient_range,
    hwnc_gradient_sums,
    hwnc_input_gradient,
    hwnc_leave,
    hwnc_max_pool2d,
    hwnc_normalization,
    hwnc_normalization_gradient,
    hwnc_quantize_channels,
    hwnc_quantize_samples,
    hwnc_weight_gradient,
)
from fqt_core.ops.int8 import int8_conv2d, int8_input_gradient, int8_weight_gradient
from fqt_core.ops.native import NativeKernelWarning
from fqt_core.ops.packing import apply_window, pack_sign, pack_sign_window, unpack_sign
from fqt_core.ops.pixel import (
    pixel_gather,
    pixel_input_gradient,
    pixel_square_sums,
    pixel_weight_gradient,
    quantize_dithered,
)
from fqt_core.ops.ranges import group_moments, group_range
from fqt_core.ops.registry import OPERATIONS, Operation, slowest
from fqt_core.ops.rounding import quantize_groups
from fqt_core.ops.selection import kept_ranges, select_groups
from fqt_core.ops.stem import stem_enter, stem_moments, stem_products
from fqt_core.ops.stem_normalization import stem_gradient, stem_normalization
from fqt_core.ops.uniform import uniform_numbers

__all__ = [
    "OPERATIONS",
    "NativeKernelWarning",
    "Operation",
    "adam_binary_",
    "adam_binary_all_",
    "apply_window",
    "binary_conv2d",
    "binary_linear",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "group_moments",
    "group_range",
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
    "int8_conv2d",
    "int8_input_gradient",
    "int8_weight_gradient",
    "isa",
    "kept_ranges",
    "mean_magnitude",
    "pack_sign",
    "pack_sign_window",
    "pixel_gather",
    "pixel_input_gradient",
    "pixel_square_sums",
    "pixel_weight_gradient",
    "quantize_dithered",
    "quantize_groups",
    "select_groups",
    "slowest",
    "stem_enter",
    "stem_gradient",
    "stem_moments",
    "stem_normalization",
    "stem_products",
    "uniform_numbers",
    "unpack_sign",
]


def isa() -> str:
    """What the kernels of this process run on: ``reference`` or an instruction set such as ``portable``."""
    return native.ISA
