"""One copy of a network among those that train together; here: the only one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn

from fqt_core.config import ParallelConfig
from fqt_core.events import GradientsExchanged


class Replica:
    """A run's only process. Several are :class:`fqt_core.parallel.replicas.DistributedReplica`.

    Attributes:
        rank: this replica's number, from 0; replica 0 reports and writes files.
        size: how many there are.
        compact: whether layers may hand the optimiser gradients of some output channels alone.
        config: how the run is divided; ``None`` for one process.
    """

    rank = 0
    size = 1
    compact = True
    config: ParallelConfig | None = None

    def attach(self, model: nn.Module) -> nn.Module:
        """Take the network that is trained; return what to call for a forward pass of training."""
        return model

    def detach(self) -> None:
        """Leave the network as it would be without replicas."""

    def agree(self, flag: bool) -> bool:
        """What replica 0 says, on all of them."""
        return flag

    def total(self, *values: float) -> tuple[float, ...]:
        """The sum over all replicas of each value, equal on all of them."""
        return values

    def broadcast(self, value: Any) -> Any:
        """The JSON value of replica 0."""
        return value

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around one micro-batch's passes: gradients are exchanged with the ``last`` one of a step."""
        del last
        return nullcontext()

    def alone(self) -> AbstractContextManager[Any]:
        """Around passes that other replicas do not run."""
        return nullcontext()

    def share(self) -> None:
        """After a step's passes: what they left in buffers (running statistics) is that of replica 0 for all."""

    def average_buffers(self) -> None:
        """Make running means and variances the averages over all replicas."""

    def tensors(self) -> dict[str, Tensor]:
        """For checkpoints, on replica 0: what replicas keep of their own. All of them have to call it."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""

    def exchanged(self, step: int) -> GradientsExchanged | None:
        """What was sent since the run began here, if anything is sent."""
        del step
        return None
