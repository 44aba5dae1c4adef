"""What the environment of a process that trains says to glibc's allocator."""

from __future__ import annotations

from collections.abc import Mapping

_TUNABLES = "GLIBC_TUNABLES"
_SETTINGS = {"glibc.malloc.hugetlb": 1, "glibc.malloc.tcache_count": 0, "glibc.malloc.mxfast": 0}


def for_training(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process to be started that trains, with settings of glibc's allocator.

    glibc reads them once, before the program begins:

    * ``hugetlb``: transparent huge pages are asked for, which the system gives where it has them on request
      (``/sys/kernel/mm/transparent_hugepage/enabled``: ``madvise``); elsewhere it changes nothing. What goes through
      much memory once, as an optimiser does, waits for the tables of its 4 KiB pages; with pages of 2 MiB it takes
      about half the time.
    * ``tcache_count``, ``mxfast``: small blocks that are freed are joined with what is free beside them. With the lists
      that glibc keeps of them by default, what an aligned block leaves on its sides never becomes part of it again,
      and PyTorch aligns every tensor: 1,800 steps of ResNet-18 (batch 16) took 300 MB more than the first.

    What the environment says of one of them already stays.
    """
    tunables = environment.get(_TUNABLES, "")
    wanted = [f"{name}={value}" for name, value in _SETTINGS.items() if name not in tunables]
    return {**environment, _TUNABLES: ":".join(filter(None, [tunables, *wanted]))}
