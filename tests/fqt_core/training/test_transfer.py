"""Batches on their way to a GPU: fake tensors stand for one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fqt_core.training.transfer import moved


class Copies(TorchDispatchMode):
    """Notes copies: whether something waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self.non_blocking: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._to_copy.default:
            self.non_blocking.append((kwargs or {}).get("non_blocking", False))
        return func(*args, **(kwargs or {}))


def test_a_batch_goes_to_a_gpu_by_way_of_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(id(tensor))
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    with FakeTensorMode(), Copies() as copies:
        batch = torch.empty(4, 3)
        there = moved(batch, torch.device("cuda", 0))
    assert there.device.type == "cuda"
    assert pinned == [id(batch)]
    assert copies.non_blocking == [True]


def test_on_the_processor_a_batch_stays_where_it_is() -> None:
    batch = torch.empty(4, 3)
    assert moved(batch, "cpu").data_ptr() == batch.data_ptr()
