"""Which work is given to other threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from fqt_core.config.threads import WORTH_A_THREAD
from fqt_core.ops.threads import threads_for

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
