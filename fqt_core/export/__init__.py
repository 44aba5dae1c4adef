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
from fqt_core.export.weights import LayerFacts, WeightPart, layer_weights, layers

__all__ = [
    "FORMAT_VERSION",
    "LayerFacts",
    "ModelFacts",
    "OnnxReport",
    "PackedModel",
    "PackedReport",
    "PartSize",
    "Prediction",
    "WeightPart",
    "inspect_model",
    "layer_weights",
    "layers",
    "load",
    "onnx_differences",
    "save_packed",
    "save_weights",
    "to_onnx",
]
