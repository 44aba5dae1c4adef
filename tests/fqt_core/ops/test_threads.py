"""Which work is given to other threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fqt_core.config.threads import WORTH_A_THREAD
from fqt_core.ops.threads import all_threads, alone_behind, threads_for, threads_of_step

PROGRAM = """
import os, threading, torch
from fqt_core import ops
torch.set_num_threads(2)
def threads(elements):
    ops.pack_sign(torch.ones(elements // 64, 64))
    return len(os.listdir("/proc/self/task"))
print(threads(64), threads(1 << 10), threads(1 << 21))
"""


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_torch_gets_one_thread_for_what_is_not_worth_two() -> None:
    with threads_for(2 * WORTH_A_THREAD - 1):
        assert torch.get_num_threads() == 1
        with threads_for(2 * WORTH_A_THREAD):  # within what is small there is nothing large
            assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with threads_for(2 * WORTH_A_THREAD):
        assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_all_threads_are_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), threads_for(1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3


def inputs(elements: int = 8) -> Tensor:
    """What is behind a layer."""
    return torch.ones(elements, requires_grad=True) * 2


@pytest.mark.usefixtures("three_threads")
def test_what_is_small_at_the_end_of_a_step_runs_alone_both_ways() -> None:
    seen: list[int] = []

    def see(_gradient: Tensor) -> None:
        seen.append(torch.get_num_threads())

    leaf = torch.ones(8, requires_grad=True)
    leaf.register_hook(see)  # type: ignore[no-untyped-call]
    with threads_of_step():
        x = leaf * 2
        alone_behind(x, nn.Linear(8, 8))
        assert torch.get_num_threads() == 1
        with all_threads():
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1
        y = x * 3
        y.register_hook(see)  # type: ignore[no-untyped-call]
        y.sum().backward()  # type: ignore[no-untyped-call]
        assert seen == [1, 3]
        assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize(
    ("elements", "layers"),
    [(2 * WORTH_A_THREAD, []), (8, [nn.Linear(8, WORTH_A_THREAD)])],
)
def test_what_is_large_at_the_end_of_a_step_does_not(elements: int, layers: list[nn.Module]) -> None:
    with threads_of_step():
        alone_behind(inputs(elements), *layers)
        assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("three_threads")
def test_only_steps_that_come_back_give_threads_away() -> None:
    alone_behind(inputs())
    assert torch.get_num_threads() == 3
    with threads_of_step():
        alone_behind(inputs().detach())
        assert torch.get_num_threads() == 3
        with all_threads():
            assert torch.get_num_threads() == 3


def fail_behind(x: Tensor) -> None:
    alone_behind(x)
    raise ZeroDivisionError


@pytest.mark.usefixtures("three_threads")
def test_threads_are_back_after_a_step_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), threads_of_step():
        fail_behind(inputs())
    assert torch.get_num_threads() == 3
    alone_behind(inputs())
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize(("worthwhile", "begun_by"), [("", 2), ("0", 2), ("many", 2), ("64", 1)])
def test_kernels_wake_another_thread_for_enough_work_alone(worthwhile: str, begun_by: int) -> None:
    """``begun_by``: which of three amounts of work is the first that a second thread is there for."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "FQT_WORTHWHILE": worthwhile}
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    ).stdout
    counts = [int(count) for count in told.split()]
    alone = counts[0]
    assert [count > alone for count in counts] == [index >= begun_by for index in range(3)]


def test_products_are_the_same_on_both_sides_of_what_is_worthwhile() -> None:
    """Kernels may take another way for few rows; other tests see only what they do for many."""
    program = """
import torch
from fqt_core import ops
for samples in (1, 512, 513):
    x, weight = (torch.randint(-(1 << 62), 1 << 62, size) for size in ((2, 2, samples, 2), (70, 3, 3, 2)))
    arguments = (x, weight, 128, [1, 1], [1, 1], [1, 1])
    found, expected = ops.hwnc_binary_conv2d(*arguments), ops.OPERATIONS["hwnc_binary_conv2d"].reference(*arguments)
    print(all(torch.equal(one, other) for one, other in zip(found, expected)))
"""
    environment = {**os.environ, "FQT_WORTHWHILE": ""}
    told = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["True"] * 3
