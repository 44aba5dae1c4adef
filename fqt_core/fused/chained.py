"""How a network offers its chains."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from fqt_core.fused.block import Block, obstacle, runtime_obstacle
from fqt_core.fused.chain import run_chain


class Chained(ABC):
    """Mixin of modules that hold a chain of binarised blocks."""

    @abstractmethod
    def chain(self) -> list[Block]:
        """The blocks in order, as the module stands now; empty before conversion."""

    def run_fused(self, x: Tensor) -> Tensor | None:
        """Run the chain on float32 (N, C, H, W); ``None`` if it cannot be fused, or cannot take this input."""
        blocks = self.chain()
        if obstacle(blocks) or runtime_obstacle(blocks, x):
            return None
        return run_chain(blocks, x)
