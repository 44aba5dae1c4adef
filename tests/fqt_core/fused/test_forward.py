"""A block's forward pass: in one operation, and step by step."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fqt_core as fqt
from fqt_core import ops
from fqt_core.fused import chain
from fqt_core.fused.block import Block
from fqt_core.fused.forward import Activation, BlockForward, Record
from fqt_core.layers import BinaryConv2d
from fqt_core.ops import waiting
from tests.fqt_core.fused.nets import images, network, step


def _tensors(value: Any) -> list[Tensor | None]:
    """All tensors of a record, in order."""
    if value is None or isinstance(value, Tensor):
        return [value]
    if not hasattr(value, "__dataclass_fields__") or isinstance(value, Block):
        return []
    return [tensor for field in fields(value) for tensor in _tensors(getattr(value, field.name))]


def _same(ours: list[Tensor | None], theirs: list[Tensor | None]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(
        one is other or (one is not None and other is not None and torch.equal(one, other)) for one, other in pairs
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the inputs of blocks that ran in one operation."""
    seen: list[tuple[int, ...]] = []
    call = ops.hwnc_block_forward

    def count(x: Tensor, *arguments: Any) -> Any:
        seen.append(tuple(x.shape))
        return call(x, *arguments)

    monkeypatch.setattr(ops, "hwnc_block_forward", count)
    return seen


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("scale", ["mean", "learned", "none"])
@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_one_operation_gives_what_the_steps_give(
    name: str, scale: str, momentum: float | None, counted: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pooled: list[bool] = []

    class Both(BlockForward):
        def __init__(self, block: Block, x: Tensor) -> None:
            super().__init__(block, x)
            with monkeypatch.context() as patch:
                patch.setattr(waiting, "at_once", lambda _: False)
                self.in_steps = BlockForward(block, x)

        @property
        def joins(self) -> bool:
            return False

        def __call__(self, x: Activation, *, keep: bool) -> tuple[Activation, Record]:
            buffers = [buffer for module in self.block.modules for buffer in module.buffers(recurse=False)]
            before, floats = [buffer.clone() for buffer in buffers], None if x.floats is None else x.floats.clone()
            steps = self.in_steps(Activation(x.signs, x.window, floats), keep=keep)
            after = [buffer.clone() for buffer in buffers]
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            found = super().__call__(x, keep=keep)
            for one, other in zip(found, steps, strict=True):
                assert _same(_tensors(one), _tensors(other))
            assert found[1].size == steps[1].size
            assert _same(list(buffers), list(after))
            pooled.append(self.block.pool)
            return found

    monkeypatch.setattr(chain, "BlockForward", Both)
    model = network(name, fqt.Method("fqt", weight_scale=scale))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
        if isinstance(module, BinaryConv2d) and module.alpha is not None:
            nn.init.normal_(module.alpha)  # some are negative: a pool takes the least there
    for seed in (1, 2):
        step(model, images(seed=seed))
    blocks = sum(isinstance(module, BinaryConv2d) for module in model.modules())
    assert len(pooled) == len(counted) == 2 * blocks
    assert any(pooled) == (name == "vgg16")


def test_where_it_is_not_one_operation(counted: list[tuple[int, ...]]) -> None:
    model = network("resnet18", fqt.Method("fqt"), size=32)
    model(images(1, 32))  # one image; it has more than one value per channel here
    assert counted == []
    model.eval()
    model(images(2, 32))
    assert counted == []
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    norms[1].train()
    model(images(2, 32))
    assert len(counted) == 1
