"""Finds out where a number stopped being finite. Only runs when something has gone wrong already."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core.errors import NonFiniteGradientError
from fqt_core.layers import BinaryLayer


@torch.no_grad()
def first_non_finite(model: nn.Module, inputs: Tensor) -> str:
    """Name of the first layer (in order of execution) whose output holds an infinity or NaN for ``inputs``.

    Runs the network once more, in the mode that it is in.
    """
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if not any(module.children())]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "(loss)"


def check_gradients(model: nn.Module, step: int) -> None:
    """Look at all gradients, compact ones too, before the optimiser uses them.

    Raises:
        NonFiniteGradientError: naming the layer and ``step``.
    """
    gradients: list[tuple[str, Tensor]] = []
    for layer, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.grad is not None:
                gradients.append((layer or name, parameter.grad))
        if isinstance(module, BinaryLayer) and module.compact_gradient is not None:
            gradients.append((layer or "weight", module.compact_gradient.rows))
    # One number to read in the usual case; names only matter when it is not finite. torch adds up on all threads.
    sums = torch.stack([gradient.sum() for _, gradient in gradients])
    if math.isfinite(sums.sum()):
        return
    for layer, gradient in reversed(gradients):  # backward runs from the last layer to the first
        if not torch.isfinite(gradient).all():
            raise NonFiniteGradientError(layer, step)
