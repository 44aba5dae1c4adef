"""Which faults come, in which order, upon whom: a function of the seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What goes wrong."""

    KILL_WORKER = "kill_worker"  # SIGKILL to a supervisor
    KILL_CHILD = "kill_child"  # SIGKILL to a training process
    KILL_API = "kill_api"
    KILL_BROKER = "kill_broker"
    KILL_DATABASE = "kill_database"  # SIGKILL to PostgreSQL's postmaster; it stays away for a while
    RESTART_DATABASE = "restart_database"  # a fast shutdown of PostgreSQL; it stays away for a while
    LOCK_DATABASE = "lock_database"  # another process holds SQLite's lock for writing
    FLUSH_BROKER = "flush_broker"  # FLUSHALL: every doorbell is lost
    STOP_WORKER = "stop_worker"  # SIGSTOP, SIGCONT: for longer than the lease, or not
    STOP_CHILD = "stop_child"
    DRAIN_WORKER = "drain_worker"  # SIGTERM
    CUT_LINK = "cut_link"  # a host's only link goes down, and heals
    FILL_DISK = "fill_disk"  # ENOSPC for files, and for SQLite
    JUMP_CLOCK = "jump_clock"  # the wall clock of a host leaps, ahead or back


_ONLY = {
    "sqlite": {Kind.LOCK_DATABASE},
    "postgresql": {Kind.KILL_DATABASE, Kind.RESTART_DATABASE},
}


@dataclass(frozen=True)
class Fault:
    """One fault. ``host``: whom it hits, if it hits a worker's host.

    ``delay`` is the time in seconds from when it is due, or with ``in_training`` from when its host is just training;
    ``seconds`` is how long it lasts, and for a clock how far it leaps.
    """

    kind: Kind
    host: int
    in_training: bool
    delay: float
    seconds: float


def schedule(seed: int, database: str, hosts: int, lease_seconds: float) -> Iterator[Fault]:
    """The faults without end, in rounds that have every kind that the database admits once, in any order."""
    draw = random.Random(f"{seed} {database}")
    others = set().union(*(kinds for name, kinds in _ONLY.items() if name != database))
    kinds = [kind for kind in Kind if kind not in others]
    while True:
        for kind in draw.sample(kinds, len(kinds)):
            in_training = draw.random() < 0.7
            yield Fault(
                kind=kind,
                host=draw.randrange(hosts),
                in_training=in_training,
                delay=round(draw.uniform(0.0, 0.3 if in_training else 1.0), 3),
                seconds=round(_seconds(kind, draw, lease_seconds, database), 3),
            )


def _seconds(kind: Kind, draw: random.Random, lease: float, database: str) -> float:
    """How long, most often around the length of a lease: there it is undecided whose the job is."""
    if kind is Kind.JUMP_CLOCK:
        # SQLite's clock is that of its machine: what it leaps back, a dead worker's lease lasts longer.
        return draw.choice([-1, 1]) * (5 * lease if database == "sqlite" else 7200)
    if kind in {Kind.FILL_DISK, Kind.LOCK_DATABASE, Kind.KILL_DATABASE, Kind.RESTART_DATABASE}:
        return draw.uniform(0.2, 1.3) * lease
    return draw.uniform(0.5, 2.0) * lease
