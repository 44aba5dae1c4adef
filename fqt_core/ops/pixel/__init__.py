"""Operations on pixel rows: a gradient (N, D, H, W) seen as N·H·W rows of D channels, numbered sample by sample."""

from fqt_core.ops.pixel.products import pixel_input_gradient, pixel_weight_gradient
from fqt_core.ops.pixel.rows import pixel_gather, pixel_square_sums, quantize_dithered

__all__ = [
    "pixel_gather",
    "pixel_input_gradient",
    "pixel_square_sums",
    "pixel_weight_gradient",
    "quantize_dithered",
]
