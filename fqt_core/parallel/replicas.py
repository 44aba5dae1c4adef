"""The replicas of a network, one process each: what :class:`fqt_core.training.replica.Replica` says, over a group.

All of a run's randomness is keyed by replica (:mod:`fqt_core.training.step`), and all sums are made in the same order
on every replica, so that results are the same bit for bit with the same number of processes and threads.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fqt_core.config import ParallelConfig
from fqt_core.errors import CheckpointError, ConfigurationError
from fqt_core.events import GradientsExchanged
from fqt_core.parallel.batch_norm import SyncBatchNorm, alone, localise_, synchronise_
from fqt_core.parallel.compression import QuantizedExchange, message_bytes
from fqt_core.training.replica import Replica

_FLOAT_BYTES = 4
_BROADCAST_BYTES = 1 << 20
_PATIENCE = timedelta(minutes=30)
"""How long a process waits for another one, which may be choosing bits meanwhile."""


def local_device(device: torch.device | str) -> torch.device:
    """The device of this process: on CUDA each process of a host has a GPU.

    Raises:
        ConfigurationError: the host has fewer GPUs than processes.
    """
    settled = torch.device(device)
    if settled.type != "cuda":
        return settled
    number, available = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if number >= available:
        raise ConfigurationError(
            f"parallel.processes: this machine has {available} GPUs; use at most as many processes"
        )
    return torch.device("cuda", number)


@contextmanager
def joined(config: ParallelConfig, device: torch.device) -> Iterator[DistributedReplica]:
    """Join the group that torchrun's environment names (``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``, …), and leave it.

    Gloo carries what lies in a processor's memory, NCCL what lies in a GPU's. Within one machine they meet on the
    loopback interface.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backends = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backends, timeout=_PATIENCE)
    try:
        with warnings.catch_warnings():
            # Of weights with one input channel, whose strides are told in two ways.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield DistributedReplica(config)
    finally:
        distributed.destroy_process_group()


class DistributedReplica(Replica):
    """One of several replicas; the process group has to be there.

    What processes tell each other about a run travels between processors, so that no GPU is waited for.
    """

    compact = False  # DistributedDataParallel exchanges whole gradients

    def __init__(self, config: ParallelConfig) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self.config = config
        self._model: nn.Module | None = None
        self._wrapped: DistributedDataParallel | None = None
        self._exchange: QuantizedExchange | None = None
        self._steps = 0
        self._shared = False

    def attach(self, model: nn.Module) -> nn.Module:
        """Take the network; its parameters become those of replica 0 everywhere."""
        assert self.config is not None
        self._model = model
        if self.config.sync_batch_norm:
            synchronise_(model)
        # Looking for unused parameters keeps buckets as they are first made: torch would put them together anew after
        # the first step, and with them the order in which more than two processes' gradients are added.
        self._wrapped = DistributedDataParallel(model, forward_sync_buffers=False, find_unused_parameters=True)
        if self.config.gradient_bits is not None:
            wanted = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
            self._exchange = QuantizedExchange(wanted, self.config.gradient_bits)
            self._wrapped.register_comm_hook(distributed.group.WORLD, self._exchange.hook)
        return self._wrapped

    def detach(self) -> None:
        """Leave a network whose modules are its own again."""
        if self._model is not None:
            localise_(self._model)

    def agree(self, flag: bool) -> bool:
        """What replica 0 says."""
        word = torch.tensor([flag], dtype=torch.uint8)
        distributed.broadcast(word, 0)
        return bool(word)

    def total(self, *values: float) -> tuple[float, ...]:
        """The sum over all replicas of each value, in the order of ranks."""
        own = torch.tensor(values, dtype=torch.float64)
        everybodys = [torch.empty_like(own) for _ in range(self.size)]
        distributed.all_gather(everybodys, own)
        return tuple(sum(column) for column in zip(*(row.tolist() for row in everybodys), strict=True))

    def broadcast(self, value: Any) -> Any:
        """The JSON value of replica 0."""
        told = [value]
        distributed.broadcast_object_list(told, 0, device=torch.device("cpu"))
        return told[0]

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around one micro-batch's passes; counts the steps."""
        assert self._wrapped is not None
        if last:
            self._steps += 1
            return nullcontext()
        return self._wrapped.no_sync()

    def alone(self) -> AbstractContextManager[Any]:
        """Around passes that other replicas do not run."""
        return nullcontext() if self._model is None else alone(self._model)

    @torch.no_grad()
    def share(self) -> None:
        """Take the buffers of replica 0; after the first step the parameters too, for some begin with its images."""
        assert self._model is not None
        tensors = [*self._model.buffers(), *(() if self._shared else self._model.parameters())]
        self._shared = True
        assert distributed.group.WORLD is not None
        distributed._broadcast_coalesced(  # type: ignore[attr-defined]
            distributed.group.WORLD, [tensor.detach() for tensor in tensors], _BROADCAST_BYTES, 0
        )

    def average_buffers(self) -> None:
        """Average what batch normalisation estimated, unless it did so over all replicas."""
        assert self._model is not None
        for module in self._model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, SyncBatchNorm):
                for buffer in (module.running_mean, module.running_var):
                    if buffer is not None:
                        distributed.all_reduce(buffer)
                        buffer.div_(self.size)

    def tensors(self) -> dict[str, Tensor]:
        """``<rank>/<parameter>`` to the residual of error feedback, on replica 0."""
        if self._exchange is None:
            return {}
        found: dict[str, Tensor] = {}
        for name, residual in self._exchange.residuals.items():
            everybodys = [torch.empty_like(residual) for _ in range(self.size)] if self.rank == 0 else None
            distributed.gather(residual, everybodys, 0)
            for rank, theirs in enumerate(everybodys or []):
                found[f"{rank}/{name}"] = theirs
        return found

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back this replica's residuals.

        Raises:
            CheckpointError: they are missing, or of another network.
        """
        if self._exchange is None:
            return
        for name, residual in self._exchange.residuals.items():
            found = tensors.get(f"{self.rank}/{name}")
            if found is None or found.shape != residual.shape or found.dtype != residual.dtype:
                raise CheckpointError(f"the checkpoint's residual of {name!r} does not fit this network")
            residual.copy_(found)

    def exchanged(self, step: int) -> GradientsExchanged | None:
        """Bytes that replica 0 has sent of gradients, and what they would have been in full precision."""
        assert self._model is not None
        assert self.config is not None
        counts = [parameter.numel() for parameter in self._model.parameters() if parameter.requires_grad]
        # A ring sends each element on twice, but for the share that is a process's own; a message goes to all others.
        full = round(2 * (self.size - 1) / self.size * _FLOAT_BYTES * sum(counts)) * self._steps
        bits = self.config.gradient_bits
        sent = full if bits is None else (self.size - 1) * sum(message_bytes(n, bits) for n in counts) * self._steps
        return GradientsExchanged(
            step=step, processes=self.size, gradient_bits=bits, bytes_sent=sent, full_precision_bytes=full
        )
