"""Gradients at a few bits between processes, with error feedback: a communication hook of DistributedDataParallel.

Each process adds to its gradient what the last step left over, quantises the sum in blocks of :data:`BLOCK` elements,
sends it to all others, and keeps what quantisation lost for the next step::

    p = g + e      q = Q(p)      e ← p - q      g ← mean over processes of q

With 1 bit Q is the sign times the block's mean magnitude; with b bits, rounding to the nearest of 2^b - 1 levels from
-s to s, s the block's largest magnitude. Source: S. P. Karimireddy et al., "Error feedback fixes SignSGD and other
gradient compression schemes", ICML 2019, arXiv 1901.09847.

On the wire, for each parameter: one float32 scale per block, then the codes as b planes of one bit per element, eight
to the byte, the first element in the lowest bit. Blocks are cut in the parameter's order in memory, so nothing depends
on how parameters are put together into buckets.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, distributed, nn

BLOCK = 256
"""Elements that share a scale: 1/8 bit more for each."""

_MAGIC = 0x0102040810204080  # times eight bytes of 0 or 1: these as the bits of the highest byte, the first lowest
_BITS = torch.tensor([[byte >> place & 1 for place in range(8)] for byte in range(256)], dtype=torch.uint8)


def compressed(values: Tensor, bits: int) -> Tensor:
    """Quantise.

    Args:
        values: float32 (n,).
        bits: 1 to 8.

    Returns:
        uint8 (4 · ceil(n / BLOCK) + bits · ceil(n / 8),), scales first.
    """
    padded = _padded(values)
    if bits == 1:
        counts = _padded(torch.ones_like(values)).sum(1, keepdim=True)
        scale = padded.abs().sum(1, keepdim=True) / counts
        codes = (padded >= 0).to(torch.uint8)
    else:
        steps = _steps(bits)
        scale = padded.abs().amax(1, keepdim=True)
        shares = padded / torch.where(scale == 0, 1.0, scale)
        codes = ((shares * steps).round() + steps).to(torch.uint8)
    flat = codes.flatten()[: _whole_bytes(len(values))]
    planes = [_packed(flat >> place & 1) for place in range(bits)]
    return torch.cat([scale.flatten().view(torch.uint8), *planes])


def restored(message: Tensor, count: int, bits: int) -> Tensor:
    """What :func:`compressed` stands for: float32 (count,)."""
    blocks = -(-count // BLOCK)
    scale = message[: 4 * blocks].clone().view(torch.float32).unsqueeze(1)
    planes = message[4 * blocks :].view(bits, -1)
    table = _BITS.to(message.device)
    codes = sum(table[plane.int()].flatten() << place for place, plane in enumerate(planes))
    shares = _padded(cast("Tensor", codes).to(torch.float32))
    shares = 2 * shares - 1 if bits == 1 else shares / _steps(bits) - 1
    return (scale * shares).flatten()[:count]


def message_bytes(count: int, bits: int) -> int:
    """Bytes of a message about so many elements."""
    return 4 * -(-count // BLOCK) + bits * _whole_bytes(count) // 8


def _whole_bytes(count: int) -> int:
    """So many bits, and what fills their last byte up."""
    return -(-count // 8) * 8


def _steps(bits: int) -> int:
    """Levels on either side of zero."""
    return int(2 ** (bits - 1) - 1)


def _padded(values: Tensor) -> Tensor:
    """(blocks, BLOCK), filled up with zeros."""
    missing = -len(values) % BLOCK
    return torch.cat([values, values.new_zeros(missing)]).view(-1, BLOCK)


def _packed(bits: Tensor) -> Tensor:
    """uint8 (8 n,) of 0 and 1 to uint8 (n,)."""
    words = bits.contiguous().view(torch.int64)
    return (words * _MAGIC >> 56).to(torch.uint8)


class QuantizedExchange:
    """The hook and its residuals e, float32 (n,) per parameter in its order in memory.

    Args:
        parameters: those of the network that want a gradient, by name.
        bits: 1 to 8.

    Attributes:
        residuals: by the parameters' names; what a run that goes on from a checkpoint needs.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], bits: int) -> None:
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._bits = bits
        self.residuals = {
            name: torch.zeros(parameter.numel(), device=parameter.device) for name, parameter in parameters.items()
        }

    def hook(
        self,
        group: distributed.ProcessGroup,
        bucket: distributed.GradBucket,  # type: ignore[name-defined]
    ) -> torch.futures.Future[Tensor]:
        """Exchange one bucket; it holds the mean when the result is there."""
        parts = list(zip(bucket.parameters(), bucket.gradients(), strict=True))
        messages = []
        for parameter, gradient in parts:
            residual = self.residuals[self._names[id(parameter)]]
            residual += _flat(gradient)
            message = compressed(residual, self._bits)
            residual -= restored(message, len(residual), self._bits)
            messages.append(message)
        own = torch.cat(messages)
        size = group.size()
        everybodys = [torch.empty_like(own) for _ in range(size)]
        work = distributed.all_gather(everybodys, own, group=group, async_op=True)
        assert work is not None

        def mean(_: torch.futures.Future[list[Tensor]]) -> Tensor:
            lengths = [len(message) for message in messages]
            rows = [torch.split(message, lengths) for message in everybodys]
            for (_, gradient), received in zip(parts, zip(*rows, strict=True), strict=True):
                flat = _flat(gradient).zero_()
                for message in received:  # in the order of ranks, so that all have the same bits
                    flat += restored(message, len(flat), self._bits)
                flat /= size
            return cast("Tensor", bucket.buffer())

        return cast("torch.futures.Future[Tensor]", work.get_future().then(mean))


def _flat(gradient: Tensor) -> Tensor:
    """The memory of a dense gradient in a bucket: (n,)."""
    return gradient.as_strided((gradient.numel(),), (1,), gradient.storage_offset())
