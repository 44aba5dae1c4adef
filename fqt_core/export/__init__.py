"""Finished models as files: one bit per binarised weight, ready to predict; and full-precision weights to go on from.

Independent of :mod:`fqt_core.training`.
"""

from fqt_core.export.format import FORMAT_VERSION
from fqt_core.export.load import load
from fqt_core.export.pack import save_packed, save_weights
from fqt_core.export.predict import PackedModel, Prediction
from fqt_core.export.report import PackedReport, PartSize

__all__ = [
    "FORMAT_VERSION",
    "PackedModel",
    "PackedReport",
    "PartSize",
    "Prediction",
    "load",
    "save_packed",
    "save_weights",
]
