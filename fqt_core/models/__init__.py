"""The networks, built by name, and loading weights into them."""

from fqt_core.models.layout import BinaryLayout
from fqt_core.models.registry import build
from fqt_core.models.weights import WeightReport, WeightRow, load_weights

__all__ = ["BinaryLayout", "WeightReport", "WeightRow", "build", "load_weights"]
