"""Weight layers of a network in the order of their definition."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.conv import _ConvNd


def weight_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Convolutions (transposed ones included) and linear layers by name, in the order of their registration.

    A module that is used under several names stands here once, under its first name.
    """
    return {
        name: module for name, module in model.named_modules() if isinstance(module, _ConvNd | nn.Linear | nn.Bilinear)
    }
