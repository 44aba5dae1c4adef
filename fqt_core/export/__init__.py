"""Finished models as files: one bit per binarised weight, ready to predict; and full-precision weights to go on from.

Independent of :mod:`fqt_core.training`.
"""

from fqt_core.export.format import FORMAT_VERSION
from fqt_core.export.inspection import ModelFacts, inspect_model
from fqt_core.export.load import load
from fqt_core.export.onnx_graph import OnnxReport, onnx_differences, to_onnx
from fqt_core.export.pack import save_packed, save_weights
from fqt_core.export.predict import PackedModel, Prediction
from fqt_core.export.report import PackedReport, PartSize

__all__ = [
    "FORMAT_VERSION",
    "ModelFacts",
    "OnnxReport",
    "PackedModel",
    "PackedReport",
    "PartSize",
    "Prediction",
    "inspect_model",
    "load",
    "onnx_differences",
    "save_packed",
    "save_weights",
    "to_onnx",
]
