"""How a network offers its chains."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from fqt_core.fused.block import Chain, obstacle, runtime_obstacle
from fqt_core.fused.chain import run_chain


class Chained(ABC):
    """Mixin of modules that hold a chain of binarised blocks."""

    @abstractmethod
    def chain(self) -> Chain:
        """The chain as the module stands now; empty before conversion."""


def run_fused(chain: Chain, x: Tensor) -> Tensor | None:
    """Run a chain on float32 (N, C, H, W); ``None`` if it cannot be fused, or cannot take this input."""
    if obstacle(chain) or runtime_obstacle(chain, x):
        return None
    return run_chain(chain, x)
