"""How a network offers its chains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from fqt_core.fused.block import Chain, Stem, obstacle, runtime_obstacle, stem_obstacle
from fqt_core.fused.chain import run_chain


class Chained(ABC):
    """Mixin of modules that hold a chain of binarised blocks."""

    @abstractmethod
    def chain(self) -> Chain:
        """The chain as the module stands now; empty before conversion."""


def with_stem(chain: Chain, before: Sequence[nn.Module], images: Tensor) -> Chain:
    """The chain with the modules ``before`` it as its stem, if it can run, and run them; else the chain as it is.

    Args:
        chain: a network's.
        before: everything that the network does to its images before the chain begins.
        images: float (N, C, H, W).
    """
    if chain.entry is None or len(before) not in {1, 2} or obstacle(chain):
        return chain
    longer = replace(chain, stem=Stem(*before))  # type: ignore[arg-type]  # what stem_obstacle() checks
    assert longer.stem is not None
    return chain if stem_obstacle(longer.stem, images) or runtime_obstacle(longer, images) else longer


def run_fused(chain: Chain, x: Tensor) -> Tensor | None:
    """Run a chain on float32 (N, C, H, W), the images if it has a stem; ``None`` if it cannot, or not with this.

    Of a chain with a stem :func:`with_stem` knows that it can.
    """
    if chain.stem is None and (obstacle(chain) or runtime_obstacle(chain, x)):
        return None
    return run_chain(chain, x)
