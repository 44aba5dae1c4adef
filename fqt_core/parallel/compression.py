"""Gradients at a few bits between processes, with error feedback: a communication hook of DistributedDataParallel.

Each process adds to its gradient what the last step left over, quantises the sum in blocks of :data:`BLOCK` elements,
sends it to all others, and keeps what quantisation lost for the next step::

    p = g + e      q = Q(p)      e ← p - q      g ← mean over processes of q

With 1 bit Q is the sign times the block's mean magnitude; with b bits, rounding to the nearest of 2^b - 1 levels from
-s to s, s the block's largest magnitude. Source: S. P. Karimireddy et al., "Error feedback fixes SignSGD and other
gradient compression schemes", ICML 2019, arXiv 1901.09847.

On the wire, for each piece of :data:`PIECE` elements of a parameter: one float32 scale per block, then the codes,
eight of b bits in b bytes, the first element in the lowest bits. Pieces and blocks are cut in the parameter's order in
memory, so nothing depends on how parameters are put together into buckets.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, distributed, nn

BLOCK = 256
"""Elements that share a scale: 1/8 bit more for each."""

PIECE = 64 * BLOCK
"""Elements that are gone through at a time, few enough to stay in the cache."""


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
        counts = torch.full((len(padded), 1), float(BLOCK), device=values.device)
        counts[-1] -= padded.numel() - len(values)
        scale = torch.linalg.vector_norm(padded, 1, 1, keepdim=True) / counts
        codes = (padded >= 0).view(torch.uint8)
    else:
        steps = _steps(bits)
        scale = torch.linalg.vector_norm(padded, float("inf"), 1, keepdim=True)
        codes = (padded * torch.where(scale == 0, 0.0, steps / scale)).round_().add_(steps).to(torch.uint8)
    return torch.cat([scale.flatten().view(torch.uint8), _packed(codes.flatten()[: _whole_bytes(len(values))], bits)])


def restored(message: Tensor, count: int, bits: int) -> Tensor:
    """What :func:`compressed` stands for: float32 (count,)."""
    blocks = -(-count // BLOCK)
    scale = message[: 4 * blocks].clone().view(torch.float32).unsqueeze(1)
    codes = _padded(_unpacked(message[4 * blocks :], bits).to(torch.float32))
    return torch.addcmul(-scale, codes, 2 * scale if bits == 1 else scale / _steps(bits)).flatten()[:count]


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


def _packed(codes: Tensor, bits: int) -> Tensor:
    """uint8 (8 n,) of so many bits each to uint8 (bits · n,)."""
    words = codes.contiguous().view(torch.int64)
    for width, first, second in _lanes(bits):
        words = words & first | words >> width & second
    return words.view(torch.uint8).view(-1, 8)[:, :bits].flatten()


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """What :func:`_packed` was given."""
    groups = packed.view(-1, bits)
    words = torch.cat([groups, groups.new_zeros(len(groups), 8 - bits)], 1).view(torch.int64).flatten()
    for width, first, second in reversed(_lanes(bits)):
        words = words & first | (words & second) << width
    return words.view(torch.uint8)


def _lanes(bits: int) -> list[tuple[int, int, int]]:
    """How the eight bytes of a word become neighbours, pair by pair, three times: by what shift, and where both are."""
    if bits == 8:
        return []
    found = []
    for lane in (16, 32, 64):
        held = bits * lane // 16
        first = sum(((1 << held) - 1) << place for place in range(0, 64, lane))
        found.append((lane // 2 - held, first, first << held))
    return found


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
        pieces: list[tuple[Tensor, Tensor]] = []
        for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
            residual = self.residuals[self._names[id(parameter)]]
            pieces += zip(residual.split(PIECE), _flat(gradient).split(PIECE), strict=True)  # type: ignore[no-untyped-call]
        messages = []
        for left, gradient in pieces:
            left.add_(gradient)
            message = compressed(left, self._bits)
            left.sub_(restored(message, len(left), self._bits))
            messages.append(message)
        own = torch.cat(messages)
        size = group.size()
        everybodys = [torch.empty_like(own) for _ in range(size)]
        work = distributed.all_gather(everybodys, own, group=group, async_op=True)
        assert work is not None

        def mean(done: torch.futures.Future[list[Tensor]]) -> Tensor:
            del done
            lengths = [len(message) for message in messages]
            rows = [torch.split(message, lengths) for message in everybodys]
            for (_, gradient), received in zip(pieces, zip(*rows, strict=True), strict=True):
                gradient.zero_()
                for message in received:  # in the order of ranks, so that all have the same bits
                    gradient.add_(restored(message, len(gradient), self._bits))
                gradient.div_(size)
            return cast("Tensor", bucket.buffer())

        return cast("torch.futures.Future[Tensor]", work.get_future().then(mean))


def _flat(gradient: Tensor) -> Tensor:
    """The memory of a dense gradient in a bucket: (n,)."""
    return gradient.as_strided((gradient.numel(),), (1,), gradient.storage_offset())
