"""Limits that a child puts on itself, first of all, before it loads torch or opens anything from outside.

Every step is one that cannot be taken back by the process. What a kernel or container does not allow is reported,
not hidden: the caller sends the result to the supervisor, which keeps it in the job's record.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

from worker.protocol import Limits

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def confine(limits: Limits, *, network: bool = False) -> dict[str, Any]:
    """Confine this process; return what holds: a value, ``True``, or the reason why not.

    ``network``: leave it the network, for what is there to fetch something.

    Keys: ``core_dumps`` (bytes), ``memory_bytes``, ``file_bytes``, ``nice``, ``network`` (``off`` or why it is on),
    ``parent_death``, ``no_new_privileges``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "core_dumps": _attempt(lambda: _bound(resource.RLIMIT_CORE, 0)),
        "memory_bytes": _attempt(lambda: _bound(resource.RLIMIT_DATA, limits.memory_bytes)),
        "file_bytes": _attempt(lambda: _bound(resource.RLIMIT_FSIZE, limits.file_bytes)),
        "nice": _attempt(lambda: os.nice(limits.nice)),
        "network": "on" if network else _attempt(lambda: _leave_network(libc)),
        # After the network: a user namespace brings new credentials, and the kernel forgets the signal with them.
        "parent_death": _attempt(lambda: _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGKILL)),
        "no_new_privileges": _attempt(lambda: _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)),
    }


def _attempt(step: Callable[[], Any]) -> Any:
    try:
        return step()
    except (OSError, ValueError) as error:
        return f"not possible here: {error}"


def _bound(kind: int, value: int | None) -> int | None:
    """Lower one resource limit, soft and hard; never raises what is lower already. ``None``: leave it."""
    if value is None:
        return None
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))
    return bound


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> bool:
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return True


def _leave_network(libc: ctypes.CDLL) -> str:
    """Move into an empty network namespace; without privileges by way of a user namespace of our own."""
    if libc.unshare(_CLONE_NEWNET) == 0:
        return "off"
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        return "off"
    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
