"""Which layers may be binarised, and why the others may not."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import parametrize

from fqt_core.models.layout import BinaryLayout
from fqt_core.models.order import weight_layers
from fqt_core.ops.int8 import MOST_BYTE_TERMS

Filter = Callable[[str, nn.Module], bool]

# These read the weights of the layers below them directly (on torch's inference fast path), past their forward.
_READS_CHILDREN = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


def keep_reasons(model: nn.Module, filter_fn: Filter | None, *, binary: bool = True) -> dict[str, str]:
    """For each weight layer, in the order of definition, why it has to stay in full precision; empty if it need not.

    ``binary``: it would be binarised; else its products would be of bytes, which go without groups, and a
    :class:`~fqt_core.models.layout.BinaryLayout` reserves nothing.
    """
    layers = weight_layers(model)
    names = list(layers)
    named = _named_by_layout(model) if binary else {}
    reasons: dict[str, str] = {}
    for name, module in layers.items():
        parent = model.get_submodule(name.rpartition(".")[0])
        if name == names[0]:
            reason = "first weight layer, by order of definition"
        elif name == names[-1]:
            reason = "last weight layer, by order of definition"
        elif isinstance(parent, _READS_CHILDREN):
            reason = f"{type(parent).__name__} reads its weight directly"
        elif id(module) in named:
            reason = named[id(module)]
        else:
            reason = _unsupported(module) or ("" if binary else _no_bytes(module))
        if not reason and filter_fn is not None and not filter_fn(name, module):
            reason = "left out by filter_fn"
        reasons[name] = reason
    return reasons


def _named_by_layout(model: nn.Module) -> dict[int, str]:
    return {
        id(module.get_submodule(name)): reason
        for module in model.modules()
        if isinstance(module, BinaryLayout)
        for name, reason in module.full_precision_layers().items()
    }


def _unsupported(module: nn.Module) -> str:
    """Why a layer cannot be binarised whatever the network; empty if it can."""
    if parametrize.is_parametrized(module):
        return "its weight is parametrised; remove the parametrisation first"
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return "its shape is not known yet; run the network once first"
    if type(module) is nn.Conv2d and module.padding_mode != "zeros":
        return f"padding_mode={module.padding_mode!r} is not supported"
    if type(module) is nn.Conv2d or type(module) is nn.Linear:
        return _unsuited(module)
    kind = type(module)
    return f"{kind.__name__} " + (
        "is not supported" if kind.__module__.startswith("torch.") else "has a forward pass of its own"
    )


def _no_bytes(module: nn.Module) -> str:
    """Why a layer's products cannot be of bytes; empty if they can."""
    if isinstance(module, nn.Conv2d) and module.groups > 1:
        return "products of bytes go without groups"
    assert isinstance(module, nn.Conv2d | nn.Linear)
    outputs, channels, *kernel = module.weight.shape
    terms = max(outputs, channels) * math.prod(kernel)
    return f"{terms} products of bytes do not fit 32-bit sums" if terms > MOST_BYTE_TERMS else ""


def _unsuited(module: nn.Conv2d | nn.Linear) -> str:
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks:
        return "hooks are registered on it; remove them first"
    if module.weight.dtype != torch.float32:
        return f"its weight is {module.weight.dtype}; binarised layers train in torch.float32"
    return ""
