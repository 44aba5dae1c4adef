"""Has a process keep freed memory instead of giving it back to the system.

A training step allocates and frees the same large buffers again and again. By default glibc maps each of them anew, and
the page faults cost about as much as the arithmetic on them: on the FP32 step of VGG-16 (batch 128) about a tenth of
the time, more where kernels are fast.

What glibc keeps is not enough: it cuts blocks that become free for smaller ones, and finds no place for an aligned
block in one of its own size. The heap grows from step to step, each time by pages that the system clears first. So the
native operations keep the blocks of their results by themselves (:mod:`fqt_core.ops.memory`), and a process that
trains is started with settings for the rest (:mod:`fqt_core.config.malloc`).
"""

from __future__ import annotations

import ctypes

from fqt_core.ops import memory

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT = 1 << 30


def keep_pages() -> bool:
    """Keep freed blocks of up to 1 GiB in this process, and those of native operations, from now on.

    It is a setting of the whole process, so it is for programs that train, and no library code calls it by itself.

    Returns:
        Whether there is a glibc that took it.
    """
    memory.keep()
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT))
