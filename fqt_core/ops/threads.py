"""How many threads PyTorch's operations get, where they do not know better.

They take all threads for 32,768 elements already, and some of them for any number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fqt_core.config.threads import WORTH_A_THREAD


@contextmanager
def threads_for(elements: int) -> Iterator[None]:
    """While this lasts, PyTorch's operations that this thread calls run on it alone, if they are not worth another.

    Args:
        elements: what the largest of the operations goes through.
    """
    threads = torch.get_num_threads()
    if threads == 1 or elements >= 2 * WORTH_A_THREAD:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
