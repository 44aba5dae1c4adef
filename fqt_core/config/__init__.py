"""What can be asked for: methods, architectures and training options, with their JSON schemas. Imports no torch."""

from fqt_core.config.architecture import (
    ARCHITECTURES,
    AnyArchitecture,
    ArchitectureConfig,
    Convnet,
    Resnet18,
    Vgg16,
)
from fqt_core.config.byte_methods import AdaptiveInt8, LgLsq, Lsq, StatQuant, UnifiedInt8
from fqt_core.config.method import (
    METHODS,
    AnyMethod,
    Fp32,
    Fqt,
    Method,
    Psq,
)
from fqt_core.config.method_base import MethodConfig, Qat
from fqt_core.config.override import LayerOverride
from fqt_core.config.parallel import ParallelConfig
from fqt_core.config.preset import PRESETS, Preset
from fqt_core.config.quantizer import GradientQuantizer
from fqt_core.config.search import SEARCHES, AnySearch, Nce
from fqt_core.config.table import TableConfig
from fqt_core.config.training import AugmentConfig, DistillationConfig, EmaConfig, TrainConfig
from fqt_core.config.tree_methods import Gbdt

__all__ = [
    "ARCHITECTURES",
    "METHODS",
    "PRESETS",
    "SEARCHES",
    "AdaptiveInt8",
    "AnyArchitecture",
    "AnyMethod",
    "AnySearch",
    "ArchitectureConfig",
    "AugmentConfig",
    "Convnet",
    "DistillationConfig",
    "EmaConfig",
    "Fp32",
    "Fqt",
    "Gbdt",
    "GradientQuantizer",
    "LayerOverride",
    "LgLsq",
    "Lsq",
    "Method",
    "MethodConfig",
    "Nce",
    "ParallelConfig",
    "Preset",
    "Psq",
    "Qat",
    "Resnet18",
    "StatQuant",
    "TableConfig",
    "TrainConfig",
    "UnifiedInt8",
    "Vgg16",
]
