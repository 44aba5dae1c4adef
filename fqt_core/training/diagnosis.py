"""Finds out where a number stopped being finite. Only runs when something has gone wrong already."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fqt_core.layers import BinaryLayer, CompactGradient


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


def gradient_sum(model: nn.Module) -> Tensor:
    """Not finite, ``()``, if one of the gradients is not, compact ones too: the sum of all. On all threads."""
    return torch.stack([gradient.sum() for _, gradient in _gradients(model)]).sum()


def first_non_finite_gradient(model: nn.Module) -> str | None:
    """Name of the layer that the first gradient with an infinity or NaN belongs to, in the order of backward."""
    for layer, gradient in reversed(_gradients(model)):  # backward runs from the last layer to the first
        numbers = gradient.rows if isinstance(gradient, CompactGradient) else gradient
        if not torch.isfinite(numbers).all():
            return layer
    return None


def _gradients(model: nn.Module) -> list[tuple[str, Tensor | CompactGradient]]:
    """All gradients, with the names of their layers."""
    gradients: list[tuple[str, Tensor | CompactGradient]] = []
    for layer, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.grad is not None:
                gradients.append((layer or name, parameter.grad))
        if isinstance(module, BinaryLayer) and module.compact_gradient is not None:
            gradients.append((layer or "weight", module.compact_gradient))
    return gradients
