from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fqt_core as fqt
from fqt_core.allocator import keep_pages
from fqt_core.layers import BinaryLayer
from fqt_core.ops.memory import kept, new_tensor
from fqt_core.training.optimizer import build_optimizer
from fqt_core.training.step import training_step
from tests.fqt_core.fused.nets import images, network


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.int16, torch.uint8, torch.bool])
@pytest.mark.parametrize("size", [(), (0,), (3, 0, 2), (1,), (5, 7, 3), (200, 200, 9)])
def test_a_new_tensor_is_contiguous_and_its_own(dtype: torch.dtype, size: tuple[int, ...]) -> None:
    like = torch.zeros(2)
    first, second = new_tensor(like, size, dtype), new_tensor(like, size, dtype)
    assert (first.shape, first.dtype) == (size, dtype)
    assert first.is_contiguous()
    first.fill_(1)
    second.fill_(0)
    assert first.eq(1).all()
    assert new_tensor(first, size).dtype == dtype


_TOO_LARGE = """
import torch
from fqt_core.allocator import keep_pages
from fqt_core.ops.memory import kept, new_tensor

keep_pages()
for size in ((1 << 58,), (1 << 40, 1 << 40), ((1 << 61) + (1 << 14),)):
    try:
        new_tensor(torch.zeros(1), size, torch.float64)
    except RuntimeError as error:
        print(error)
    else:
        raise SystemExit("there is no such tensor")
assert kept().lent == 0
"""


def test_what_no_memory_holds_is_refused() -> None:
    """Also where the number of its bytes, of 64 bits, would be a small one."""
    answer = subprocess.run([sys.executable, "-c", _TOO_LARGE], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "not enough memory for a result of 2305843009213693952 bytes" in answer.stdout
    assert answer.stdout.count("too large") == 2


def test_a_new_tensor_of_fake_ones_is_fake() -> None:
    with FakeTensorMode():
        assert new_tensor(torch.empty(2), (3, 4), torch.int64).shape == (3, 4)
    assert new_tensor(torch.empty(2, device="meta"), (3, 4)).device.type == "meta"


def test_without_native_kernels_there_are_new_tensors_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fqt_core.ops.memory.EXTENSION", None)
    assert new_tensor(torch.zeros(2), (3, 4), torch.int16).dtype == torch.int16
    assert kept() == (0, 0, 0)


def _train(name: str, keeps: bool) -> None:
    """Child: some steps of a narrow network; prints its weights' digest, and what is kept after each step."""
    if keeps:
        keep_pages()
    model = network(name, fqt.Method("fqt"), size=32)
    optimizer = build_optimizer(model, fqt.TrainConfig(epochs=1))
    layers = [module for module in model.modules() if isinstance(module, BinaryLayer)]
    held = []
    for number, samples in enumerate([16] * 6 + [5] + [16] * 10):
        batch = images(samples, 32, seed=number), torch.arange(samples) % 5
        training_step(model, optimizer, batch, seed=1, step=number, classes=5, layers=layers)
        held.append(kept())
    weights = b"".join(value.detach().numpy().tobytes() for value in model.state_dict().values())
    print(json.dumps({"digest": hashlib.sha256(weights).hexdigest(), "held": held}))


@pytest.mark.parametrize("name", ["vgg16", "resnet18"])
def test_steps_that_keep_memory_give_the_same_weights_and_need_no_more_of_it(name: str) -> None:
    """Nor after a batch of another size."""
    found = {}
    for keeps in (False, True):
        code = f"from tests.fqt_core.ops.test_memory import _train; _train({name!r}, {keeps})"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr[-3000:]
        found[keeps] = json.loads(answer.stdout)
    assert found[False]["digest"] == found[True]["digest"]
    assert set(map(tuple, found[False]["held"])) == {(0, 0, 0)}
    held = found[True]["held"]
    assert held[0][1] > 0
    assert all(ready <= 3 * most for _, most, ready in held)
    assert len({lent + ready for lent, _, ready in held[8:]}) == 1
