"""A chain of blocks as one autograd function, from floats to floats."""

from __future__ import annotations

from itertools import takewhile
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from fqt_core import ops
from fqt_core.fused.backward import BlockGradient, defers
from fqt_core.fused.block import Chain
from fqt_core.fused.entry import EntryRecord, enter, leave
from fqt_core.fused.forward import BlockForward, Record, run_together
from fqt_core.fused.halving import halve_backward
from fqt_core.fused.rows import PendingRows, RowGradient
from fqt_core.fused.run import run_back, run_length
from fqt_core.fused.shortcut import come_back
from fqt_core.fused.stem import StemRecord, apply_stem, enter_stem, leave_stem
from fqt_core.fused.store import GradientStore
from fqt_core.layers import BinaryLayer
from fqt_core.ops.memory import new_tensor
from fqt_core.ops.threads import threads_for


def run_chain(chain: Chain, x: Tensor) -> Tensor:
    """Run a chain that has no :func:`~fqt_core.fused.block.obstacle`.

    Args:
        chain: at least one block.
        x: float32 (N, C, H, W): the images if the chain has a stem, else best with channels last in memory.

    Returns:
        float32 (N, D, H', W'), the last block's output.

    Raises:
        ValueError: in training, a batch of one value per channel, which has no variance.
    """
    pixels = x if chain.stem is not None else x.permute(0, 2, 3, 1).contiguous()
    parameters = chain.parameters()
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        arguments: tuple[Any, ...] = (pixels, chain, *parameters)
        result = cast("Tensor", _ChainFunction.apply(*arguments))  # type: ignore[no-untyped-call]
    else:
        result = _forward(chain, pixels, graph=False)[0]
    return result.permute(2, 3, 0, 1)


def _forward(chain: Chain, x: Tensor, *, graph: bool) -> tuple[Tensor, EntryRecord | StemRecord | None, list[Record]]:
    """float32 (N, H, W, C), or images, to float32 (H', W', N, D); records are needed only if ``graph``."""
    blocks, records = chain.blocks, []
    keep = blocks[0].shortcut is not None
    entry: EntryRecord | StemRecord | None = None
    if chain.stem is None or chain.entry is None:
        activation, entry = enter(x, chain.entry, keep=keep)
    elif graph or chain.entry.training:
        activation, entry = enter_stem(chain.stem, chain.entry, x, keep=keep)
    else:  # nothing has to be kept, and nothing be known of the batch
        activation = apply_stem(chain.stem, chain.entry, x, keep=keep)
    passes = [BlockForward(block, x) for block in blocks]
    first = 0
    while first < len(blocks):
        together = len(list(takewhile(lambda run: run.joins, passes[first:])))
        end = first + max(1, together)
        keep = end == len(blocks) or blocks[end].shortcut is not None
        if together > 1:
            activation, made = run_together(passes[first:end], activation, keep=keep)
        else:
            activation, record = passes[first](activation, keep=keep)
            made = [record]
        if graph:
            records += made
        first = end
    assert activation.floats is not None
    return activation.floats, entry, records


class _ChainFunction(torch.autograd.Function):
    """Saved for backward: the records of entry and blocks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, chain: Chain, *parameters: nn.Parameter) -> Tensor:
        """float32 (N, H, W, C), or images, to float32 (H', W', N, D)."""
        for block in chain.blocks:
            if isinstance(block.conv, BinaryLayer) and block.conv.collect_statistics:
                block.conv.statistics.clear()
        result, ctx.entry, ctx.records = _forward(chain, x.detach(), graph=True)
        ctx.chain, ctx.parameters = chain, parameters
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """dL/dh of the last block to the gradients of x and of all parameters."""
        chain: Chain = ctx.chain
        if not ctx.records:
            raise RuntimeError("a chain's backward pass was run before; keep its graph with retain_graph=True")
        # The records of a block go as soon as it is done, for at the chain's entry memory is needed most.
        kept = _graph_is_kept()
        records: list[Record] = list(ctx.records) if kept else ctx.records
        everyone = torch.arange(gradient.shape[2], dtype=torch.int64, device=gradient.device)
        found: dict[Tensor, Tensor] = {}
        # A copy of its own, since shortcuts add to it in place.
        g: list[RowGradient | PendingRows]
        with threads_for(gradient.numel()):
            g = [RowGradient(new_tensor(gradient, gradient.shape).copy_(gradient), everyone)]
        deferred = [defers(record) for record in records]
        layers = [record.block.conv for record, later in zip(records, deferred, strict=True) if not later]
        store = GradientStore([layer for layer in layers if isinstance(layer, BinaryLayer)], gradient.device)
        entering = ctx.needs_input_grad[0] or chain.entry is not None
        while records:
            together = run_length(records, deferred)
            if together:
                left = len(records) - together
                g.append(run_back(records, together, g, found))
                del deferred[len(records) :]
                if len(records) == left:
                    continue  # else what ended the run is told, or dealt with, by the block itself
            wanted = len(records) > 1 or entering
            g.append(_backward(records.pop(), g, everyone, found, store, deferred=deferred.pop(), wanted=wanted))
        first = chain.blocks[0].conv
        step = first.state.step if isinstance(first, BinaryLayer) else 0
        entry = [ctx.entry]
        if not kept:
            ctx.entry = None
        x = _leave(chain, entry, g, found, step) if entering else None
        # Taken out, so that each is the only reference: of others autograd would make copies.
        return (x, None, *(found.pop(parameter, None) for parameter in ctx.parameters))


def _leave(
    chain: Chain,
    entry: list[Any],
    gradient: list[RowGradient | PendingRows],
    found: dict[Tensor, Tensor],
    step: int,
) -> Tensor | None:
    """dL/dx at the entry; ``None`` for images. ``entry``, the record, and ``gradient``: see :func:`leave_stem`."""
    if chain.stem is None or chain.entry is None:
        return leave(entry.pop(), chain.entry, gradient.pop().whole(), found, step=step)
    leave_stem(chain.stem, chain.entry, entry, gradient, found, step=step)
    return None


def _graph_is_kept() -> bool:
    """Whether the backward pass under way was called with ``retain_graph``; so too if torch does not tell."""
    tell = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if tell is None else bool(tell())


def _backward(
    record: Record,
    gradient: list[RowGradient | PendingRows],
    everyone: Tensor,
    found: dict[Tensor, Tensor],
    store: GradientStore,
    *,
    deferred: bool,
    wanted: bool,
) -> RowGradient | PendingRows:
    """One block; its parameters' gradients go into ``found``.

    Args:
        gradient: dL/dh, which is taken out of the list, so that it goes as soon as it has been used.
        store, deferred: see :meth:`BlockGradient.parameter_gradients`.
    """
    g = gradient.pop().whole()
    block = BlockGradient(record, g)
    found |= block.parameter_gradients(store, deferred=deferred)
    through = block.input_gradient() if wanted else None
    shortcut, beside = record.block.shortcut, record.around
    if shortcut is None:
        return g if through is None else through
    del block, record  # what is on the way around is large
    around = g.spread(len(everyone))
    del g
    if shortcut.halving is not None:
        assert beside is not None
        size = beside.size
        with threads_for(4 * beside.halved.numel()):
            around = come_back(shortcut.halving.conv, shortcut.halving.norm, beside, around, found)
        del beside
        around = halve_backward(around, size)
    if through is not None:
        for part in through.parts():
            ops.hwnc_add_rows(around, part.rows, part.index)
    return RowGradient(around, everyone)
