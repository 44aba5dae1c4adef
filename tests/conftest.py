"""What holds for every test: one profile for hypothesis, few threads, and no connection beyond this machine."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.fixtures", "tests.split"]

# Tests of kernels are small; more threads only add noise. Child processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that spin while they wait slow each other down by far on cores that have more to do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# So that kernels cut whatever they can on several threads, which is to change nothing.
os.environ.setdefault("FQT_WORTHWHILE", "1")
# Workers of tests run one job or two: to have a process ready for the next one takes longer than it saves.
os.environ.setdefault("FQT_STANDBY", "false")

settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("explore", parent=settings.get_profile("project"), derandomize=False, max_examples=2000)
settings.load_profile(os.environ.get("FQT_HYPOTHESIS_PROFILE", "project"))

_connect = socket.socket.connect


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket
        return True
    host = address[0]
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Make a test that reaches out of this machine fail."""

    def guarded(self: socket.socket, address: Any) -> None:
        if not _is_local(address):
            raise AssertionError(f"a test tried to connect to {address!r}")
        _connect(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", guarded)
    yield
    patch.undo()
