"""What can be asked for: methods, architectures and training options, with their JSON schemas. Imports no torch."""

from fqt_core.config.architecture import (
    ARCHITECTURES,
    AnyArchitecture,
    ArchitectureConfig,
    Convnet,
    Resnet18,
    Vgg16,
)
from fqt_core.config.method import (
    METHODS,
    AnyMethod,
    Fp32,
    Fqt,
    GradientQuantizer,
    Method,
    MethodConfig,
    Psq,
    Qat,
)
from fqt_core.config.training import AugmentConfig, DistillationConfig, EmaConfig, TrainConfig

__all__ = [
    "ARCHITECTURES",
    "METHODS",
    "AnyArchitecture",
    "AnyMethod",
    "ArchitectureConfig",
    "AugmentConfig",
    "Convnet",
    "DistillationConfig",
    "EmaConfig",
    "Fp32",
    "Fqt",
    "GradientQuantizer",
    "Method",
    "MethodConfig",
    "Psq",
    "Qat",
    "Resnet18",
    "TrainConfig",
    "Vgg16",
]
