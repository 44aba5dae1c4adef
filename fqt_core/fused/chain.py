"""A chain of blocks as one autograd function, from floats to floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fqt_core import ops
from fqt_core.fused.backward import BlockGradient, RowGradient
from fqt_core.fused.block import Block
from fqt_core.fused.forward import Record, enter, forward
from fqt_core.layers import BinaryLayer


def run_chain(blocks: Sequence[Block], x: Tensor) -> Tensor:
    """Run blocks that have no :func:`~fqt_core.fused.block.obstacle`.

    Args:
        blocks: at least one.
        x: float32 (N, C, H, W) on the CPU, in any memory format; the first block takes its sign.

    Returns:
        float32 (N, D, H', W'), the last block's output.

    Raises:
        ValueError: in training, a batch of one value per channel, which has no variance.
    """
    rows = x.permute(2, 3, 0, 1).contiguous()
    parameters = [parameter for block in blocks for parameter in block.parameters()]
    arguments: tuple[Any, ...] = (rows, tuple(blocks), *parameters)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        result = cast("Tensor", _ChainFunction.apply(*arguments))  # type: ignore[no-untyped-call]
    else:
        result, _ = _forward(blocks, rows, graph=False)
    return result.permute(2, 3, 0, 1)


def _forward(blocks: Sequence[Block], x: Tensor, *, graph: bool) -> tuple[Tensor, list[Record]]:
    """float32 (H, W, N, C) to float32 (H', W', N, D); records only if ``graph``."""
    activation, records = enter(x), []
    for number, block in enumerate(blocks):
        keep = number + 1 == len(blocks) or blocks[number + 1].shortcut is not None
        activation, record = forward(block, activation, keep=keep, graph=graph)
        if graph:
            records.append(record)
    assert activation.floats is not None
    return activation.floats, records


class _ChainFunction(torch.autograd.Function):
    """Saved for backward: the records of the blocks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, blocks: tuple[Block, ...], *parameters: nn.Parameter) -> Tensor:
        """float32 (H, W, N, C) to float32 (H', W', N, D)."""
        for block in blocks:
            if isinstance(block.conv, BinaryLayer) and block.conv.collect_statistics:
                block.conv.statistics.clear()
        result, ctx.records = _forward(blocks, x.detach(), graph=True)
        ctx.parameters = parameters
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dh of the last block to the gradients of x and of all parameters."""
        records: list[Record] = ctx.records
        samples = gradient.shape[2]
        everyone = torch.arange(samples, dtype=torch.int64)
        found: dict[Tensor, Tensor] = {}
        # A copy of its own, since shortcuts add to it in place.
        g = RowGradient(gradient.clone(memory_format=torch.contiguous_format), everyone)
        for number in reversed(range(len(records))):
            wanted = number > 0 or ctx.needs_input_grad[0]
            g = _backward(records[number], g, everyone, found, wanted=wanted)
        x = g.spread(samples) if ctx.needs_input_grad[0] else None
        return (x, None, *(found.get(parameter) for parameter in ctx.parameters))


def _backward(
    record: Record, g: RowGradient, everyone: Tensor, found: dict[Tensor, Tensor], *, wanted: bool
) -> RowGradient:
    """One block; its parameters' gradients go into ``found``."""
    block = BlockGradient(record, g)
    found |= block.parameter_gradients()
    through = block.input_gradient() if wanted else None
    shortcut = record.block.shortcut
    if shortcut is None:
        return through if through is not None else g
    around = g.spread(len(everyone))
    if shortcut.run is not None:
        assert record.fork is not None
        assert record.joined is not None
        parameters = [p for p in shortcut.parameters() if p.requires_grad]
        around, *rest = torch.autograd.grad(record.joined, [record.fork, *parameters], around)
        around = around.contiguous()
        found |= dict(zip(parameters, rest, strict=True))
    if through is not None:
        ops.hwnc_add_rows(around, through.rows, through.index)
    return RowGradient(around, everyone)
