"""Starts the processes of a run under torch's elastic agent, as ``torchrun`` does, and anew when one is lost.

Imports torch only in :func:`launch`: a process can confine itself before.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from fqt_core.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
RESTARTS = 5
"""How often all processes of a run go on from the last checkpoint because one was lost, before the run is."""

_SIOCGIFADDR = 0x8915
_MONITOR_SECONDS = 0.1
_SHUTDOWN_SECONDS = 5


@dataclass(frozen=True)
class Meeting:
    """Where the agents of a run find each other.

    Attributes:
        hosts: machines, each with an agent.
        endpoint: ``address:port`` of one of them; the port 0 of this machine alone is one that is free.
        address: under which the other machines reach this one.
        run: a name that the agents of this run have in common.
        seconds: how long an agent waits for the others.
    """

    hosts: int = 1
    endpoint: str = f"{LOOPBACK}:0"
    address: str = LOOPBACK
    run: str = "fqt"
    seconds: int = 600


def launch(command: Sequence[str], processes: int, meeting: Meeting | None = None) -> None:
    """Run ``command`` in so many processes on this host, with torchrun's environment, until all have ended with 0.

    When one ends otherwise, on any host, all are ended and started anew, up to :data:`RESTARTS` times
    (``TORCHELASTIC_RESTART_COUNT`` tells how often). They inherit stdin, stdout and stderr.

    Raises:
        ConfigurationError: no network interface has the address of this host.
        torch.distributed.elastic.multiprocessing.errors.ChildFailedError: too many were lost.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    where = meeting or Meeting()
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # of what DistributedDataParallel advises we know why not
    # A store that outlives an attempt still tells its processes' addresses to those of the next one.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = interface_of(where.address)
    config = LaunchConfig(
        min_nodes=where.hosts,
        max_nodes=where.hosts,
        nproc_per_node=processes,
        run_id=where.run,
        rdzv_backend="c10d",
        rdzv_endpoint=where.endpoint,
        rdzv_configs={
            "timeout": where.seconds,
            "join_timeout": where.seconds,
            "is_host": where.endpoint.rpartition(":")[0] == where.address,
        },
        max_restarts=RESTARTS,
        monitor_interval=_MONITOR_SECONDS,
        local_addr=where.address,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    elastic_launch(config, command[0])(*command[1:])


def interface_of(address: str) -> str:
    """The network interface that has an IPv4 address: processes connect there and nowhere else.

    Raises:
        ConfigurationError: none has.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    raise ConfigurationError(f"no network interface of this machine has the address {address}")


def end_with(descriptor: int, code: int) -> None:
    """End this process, with an exit code, when nobody has the other end of a pipe or socket open any more."""

    def watch() -> None:
        ends = select.poll()
        ends.register(descriptor, 0)  # what is waited for is told in any case: that the other end is closed
        ends.poll()
        os._exit(code)

    threading.Thread(target=watch, name="agent", daemon=True).start()
