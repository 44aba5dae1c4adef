"""Run a command that dies with the process that started it, even if that one is killed with SIGKILL.

``python -I leash.py PARENT_PID COMMAND…`` asks the kernel (``PR_SET_PDEATHSIG``) to kill this process when its parent
dies, and becomes the command; the request survives exec. Meant to be run as a file: it imports nothing of the project,
so that it costs a few milliseconds only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From ``<linux/prctl.h>``."""


def hold(parent: int) -> None:
    """Have this process killed when ``parent`` dies.

    Raises:
        OSError: the kernel refuses.
    """
    # SIGKILL, not SIGTERM: whoever kills the parent without warning wants it gone, and a job that is cut off is taken
    # up again from its last checkpoint.
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.platform == "linux":
        hold(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - an argument list, and no shell is meant
