"""Starts the processes of a run under torch's elastic agent, as ``torchrun`` does, and anew when one is lost.

Imports torch only in :func:`launch`: a process can confine itself before.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
RESTARTS = 5
"""How often all processes of a run go on from the last checkpoint because one was lost, before the run is."""

_MONITOR_SECONDS = 0.1
_SHUTDOWN_SECONDS = 5


@dataclass(frozen=True)
class Meeting:
    """Where the agents of a run find each other.

    Attributes:
        hosts: machines, each with an agent.
        endpoint: ``host:port`` of the first one; the port 0 of this machine alone is one that is free.
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
        torch.distributed.elastic.multiprocessing.errors.ChildFailedError: too many were lost.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    where = meeting or Meeting()
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # of what DistributedDataParallel advises we know why not
    if where.hosts == 1:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    config = LaunchConfig(
        min_nodes=where.hosts,
        max_nodes=where.hosts,
        nproc_per_node=processes,
        run_id=where.run,
        rdzv_backend="c10d",
        rdzv_endpoint=where.endpoint,
        rdzv_configs={"timeout": where.seconds, "join_timeout": where.seconds},
        max_restarts=RESTARTS,
        monitor_interval=_MONITOR_SECONDS,
        local_addr=where.address,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    elastic_launch(config, command[0])(*command[1:])
