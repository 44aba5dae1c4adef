"""The quantisers, one file per idea, each with its formula and source."""

from fqt_core.quantizers.agp import Selection, kept_count
from fqt_core.quantizers.scq import GroupRanges, QuantizedGradient, quantize

__all__ = ["GroupRanges", "QuantizedGradient", "Selection", "kept_count", "quantize"]
