"""How many threads PyTorch's operations get, where they do not know better.

They take all threads for 32,768 elements already, and some of them for any number. Where there are as many threads as
cores, one of PyTorch's may share its core with the thread that waits for it, since those of the kernels look for work
on all others. There it stays for as long as the process lives, and each such operation takes a quarter of a millisecond
longer, whatever it does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from fqt_core.config.threads import WORTH_A_THREAD


class _Step(threading.local):
    """Of the step under way, in this thread: the number of PyTorch's threads; 0: none is."""

    threads = 0


_step = _Step()


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """While this lasts, PyTorch's operations that this thread calls get so many threads; after it as many as before."""
    before = torch.get_num_threads()
    if number != before:
        torch.set_num_threads(number)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def threads_for(elements: int) -> AbstractContextManager[None]:
    """While this lasts, PyTorch's operations that this thread calls run on it alone, if they are not worth another.

    Args:
        elements: what the largest of the operations goes through.
    """
    return torch_threads(torch.get_num_threads() if elements >= 2 * WORTH_A_THREAD else 1)


@contextmanager
def threads_of_step() -> Iterator[None]:
    """While this lasts, :func:`alone_behind` may take PyTorch's threads away. After it they are what they were."""
    before, threads = _step.threads, torch.get_num_threads()
    _step.threads = threads
    try:
        with torch_threads(threads):
            yield
    finally:
        _step.threads = before


def alone_behind(x: Tensor, *layers: nn.Module) -> None:
    """Run what comes behind ``x`` in a training step on its thread alone, and back to ``x`` as well, if it is small.

    It does so within :func:`threads_of_step` only, and where the way back leads through ``x``.

    Args:
        x: of a forward pass; there is nothing beside what depends on it.
        layers: what comes behind, and goes through no more elements than ``x`` has, or one of their parameters.
    """
    threads = _step.threads
    if threads <= 1 or not (x.is_cpu and x.requires_grad):
        return
    sizes = [tensor.numel() for tensor in (x, *(parameter for layer in layers for parameter in layer.parameters()))]
    if max(sizes) < 2 * WORTH_A_THREAD:
        torch.set_num_threads(1)
        x.register_hook(lambda _gradient: torch.set_num_threads(threads))  # type: ignore[no-untyped-call]


def all_threads() -> AbstractContextManager[None]:
    """While this lasts, PyTorch has all threads of the step under way, if there is one."""
    return torch_threads(_step.threads or torch.get_num_threads())
