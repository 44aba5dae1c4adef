"""Finds out where a number stopped being finite. Only runs when something has gone wrong already."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from fqt_core.config.threads import WORTH_A_THREAD
from fqt_core.layers import BinaryLayer, CompactGradient, DeferredGradient


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


def gradient_sum(optimizer: torch.optim.Optimizer, layers: Iterable[BinaryLayer]) -> Tensor:
    """Not finite, ``()``, if one of the gradients is not, compact ones of ``layers`` too: the sum of all."""
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    compact = [layer.compact_gradient for layer in layers if layer.compact_gradient is not None]
    deferred = [gradient for gradient in compact if isinstance(gradient, DeferredGradient)]
    sums = [gradient.sum() for gradient in compact if not isinstance(gradient, DeferredGradient)]
    if deferred:
        sums.append(DeferredGradient.bound(deferred))
    sums += [gradient.sum() for gradient in gradients if gradient.numel() >= WORTH_A_THREAD]
    # Most are a number for each channel: one operation takes them all.
    if small := [gradient.flatten() for gradient in gradients if gradient.numel() < WORTH_A_THREAD]:
        sums.append(torch.cat(small).sum())
    return reduce(torch.add, sums)


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
