"""1-bit fully quantised training: quantisers, layers, networks, data, training and export.

``import fqt_core`` is cheap: what needs torch is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fqt_core.config import Method, TrainConfig
from fqt_core.errors import FqtError

if TYPE_CHECKING:
    from fqt_core import data, export, models
    from fqt_core.convert import convert_
    from fqt_core.training import Trainer

__version__ = "0.1.0"
__all__ = ["FqtError", "Method", "TrainConfig", "Trainer", "convert_", "data", "export", "models"]

_LAZY = {
    "Trainer": ("fqt_core.training", "Trainer"),
    "convert_": ("fqt_core.convert", "convert_"),
    "data": ("fqt_core.data", None),
    "export": ("fqt_core.export", None),
    "models": ("fqt_core.models", None),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(module_name)
    return module if attribute is None else getattr(module, attribute)
