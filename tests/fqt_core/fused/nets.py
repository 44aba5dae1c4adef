"""Small converted networks with chains, run fused or layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fqt_core as fqt
from fqt_core.config import MethodConfig
from fqt_core.fused import chained


def network(name: str, method: MethodConfig, *, size: int = 18, width: float = 0.25, **options: Any) -> nn.Module:
    """A converted network with weights and normalisations that are not at their simple initial values."""
    with torch.random.fork_rng():
        torch.manual_seed(11)
        model = fqt.models.build(name, num_classes=5, width=width, image_size=size, **options)
        fqt.convert_(model, method, seed=3)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1, 0.3)
                nn.init.normal_(module.bias, 0, 0.3)
    return model


def images(count: int = 6, size: int = 18, seed: int = 1) -> Tensor:
    """float32 (count, 3, size, size)."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def step(model: nn.Module, x: Tensor) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of one step."""
    loss = functional.cross_entropy(model(x), torch.arange(len(x)) % 5)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """Run chains' layers one by one, as those of a network that offers none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chained, "runtime_obstacle", lambda *_: "for a test")
        yield
