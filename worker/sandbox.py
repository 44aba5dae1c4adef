"""Limits that a child puts on itself, first of all, before it loads torch or opens anything from outside.

Every step is one that cannot be taken back by the process. What a kernel or container does not allow is reported,
not hidden: the caller sends the result to the supervisor, which keeps it in the job's record.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import signal
import socket
import struct
from collections.abc import Callable
from typing import Any

from worker.protocol import Limits

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def confine(limits: Limits, *, network: bool = False, loopback: bool = False) -> dict[str, Any]:
    """Confine this process; return what holds: a value, ``True``, or the reason why not.

    ``network``: leave it the network, for what is there to fetch something. ``loopback``: leave it, and the processes
    that it starts, a loopback interface of their own.

    Keys: ``core_dumps`` (bytes), ``memory_bytes``, ``file_bytes``, ``nice``, ``network`` (``off``, ``loopback``, or why
    it is on), ``parent_death``, ``no_new_privileges``.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return {
        "core_dumps": _attempt(lambda: _bound(resource.RLIMIT_CORE, 0)),
        "memory_bytes": _attempt(lambda: _bound(resource.RLIMIT_DATA, limits.memory_bytes)),
        "file_bytes": _attempt(lambda: _bound(resource.RLIMIT_FSIZE, limits.file_bytes)),
        "nice": _attempt(lambda: os.nice(limits.nice)),
        "network": "on" if network else _attempt(lambda: _leave_network(libc, loopback=loopback)),
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


def _leave_network(libc: ctypes.CDLL, *, loopback: bool) -> str:
    """Move into an empty network namespace; without privileges by way of a user namespace of our own."""
    if libc.unshare(_CLONE_NEWNET) != 0 and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if not loopback:
        return "off"
    request = struct.pack("16sH14x", b"lo", _IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
    return "loopback"
