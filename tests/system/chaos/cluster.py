"""The service under test: API, broker and database on one host, workers on hosts of their own behind links."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import worker
from fqt_client import Client
from jobs.settings import Settings
from jobs.store import Store
from tests.system.chaos import servers
from tests.system.chaos.clock import WallClock
from tests.system.chaos.hosts import Here, Host, Link, SmallDisk
from tests.system.chaos.part import Keeper, Part
from tests.worker.helpers import children, until
from tests.worker.processes import REAL, SCRIPT

LEASE_SECONDS = 2.0
START_SECONDS = 180.0
_DISK_BYTES = 512 * 2**20
_PORT = 8000
_SETTINGS: dict[str, Any] = {
    "lease_seconds": LEASE_SECONDS,
    "heartbeat_seconds": 0.4,
    "watch_seconds": 0.2,
    "flush_seconds": 0.1,
    "reaper_seconds": 0.3,
    "poll_seconds": 0.5,
    "retry_backoff_seconds": 0.2,
    "max_attempts": 100,  # faults come thick and fast here: no job is to blame for them
    "stop_grace_seconds": 5.0,
    "kill_grace_seconds": 0.3,
    "threads": 1,
    "child_nice": 0,
    "log_level": "warning",
}


@dataclass
class WorkerHost:
    """One machine that trains: its link to the others, its worker, its folder, its clock."""

    link: Link
    part: Part
    folder: Path
    clock: WallClock

    def children(self) -> list[int]:
        """Its training processes, those that are at it before those that wait for a job."""
        found = children(self.part.process.pid) if self.part.running else []
        return sorted(found, key=lambda pid: not _training(pid))

    def training(self) -> bool:
        """Whether a job is just training: past the start of its process, which takes the longest."""
        return any(_training(pid) for pid in self.children())


@dataclass
class Cluster:
    """Everything that runs, and the way in."""

    database: str
    disk: SmallDisk
    broker: Part
    server: Part | None
    api: Part
    hosts: list[WorkerHost]
    store: Store

    def client(self) -> Client:
        """A client of the API. It gives up at once: whoever uses it decides what to do again."""
        key = self.store.settings.key_path.read_text().strip()
        return Client(f"http://127.0.0.1:{_PORT}", key, timeout=60, retries=0)


@contextmanager
def cluster(folder: Path, database: str, hosts: int, *, scripted: bool) -> Iterator[Cluster]:
    """Start a service, with an empty store, whose parts are kept running. Only in isolation (:mod:`.hosts`).

    ``scripted``: its workers have the children of :mod:`tests.worker.fake_child`, which only play training.
    """
    disk = SmallDisk(folder / "disk", _DISK_BYTES)
    places = [Host() for _ in range(hosts)]
    links = [Link(number, Here(), host) for number, host in enumerate(places, 1)]
    file = disk.root / "fqt.db"
    server = servers.postgresql(folder, Here()) if database == "postgresql" else None
    broker = servers.valkey(folder, Here())
    common = {name: str(value) for name, value in _SETTINGS.items()}
    common |= {"blob_dir": str(disk.root / "blobs"), "secret": secrets.token_hex(16)}

    def url(address: str) -> str:
        return f"sqlite:///{file}" if server is None else f"postgresql://postgres@{address}/postgres"

    def part(name: str, host: Here | Host, address: str, clock: WallClock | None, **settings: str) -> Part:
        values = common | {"database_url": url(address), "broker_url": f"redis://{address}:6379/0"} | settings
        environment = {f"FQT_{key.upper()}": value for key, value in values.items()}
        environment |= {"PYTHONPATH": str(Path(worker.__file__).parents[1])} | (clock.environment if clock else {})
        program = ["-m", "api"] if name == "api" else [str(SCRIPT)] if scripted else REAL
        return Part(name, host.command(sys.executable, *program), environment, folder / f"{name}.log")

    # SQLite is one machine, with one clock; on PostgreSQL each worker's machine has its own, and the database none.
    clocks = [WallClock(folder, str(number if server else 0)) for number in range(1, hosts + 1)]
    if server is None:
        clocks = clocks[:1] * hosts
    settings = {"data_dir": str(disk.root / "api"), "port": str(_PORT), "migrate_at_start": "true"}
    api = part("api", Here(), "127.0.0.1", None if server else clocks[0], **settings)
    workers = [
        WorkerHost(
            link,
            part(f"worker-{number}", host, link.first, clock, data_dir=str(disk.root / f"worker-{number}")),
            disk.root / f"worker-{number}",
            clock,
        )
        for number, (host, link, clock) in enumerate(zip(places, links, clocks, strict=True), 1)
    ]
    parts = [*([server] if server else []), broker, api, *(host.part for host in workers)]
    try:
        with Keeper(parts):
            until((disk.root / "api" / "key").exists, START_SECONDS)
            own = Settings(
                data_dir=disk.root / "api", blob_dir=disk.root / "blobs", database_url=url("127.0.0.1"), secret="unused"
            )
            store = Store.open(own)
            try:
                yield Cluster(database, disk, broker, server, api, workers, store)
            finally:
                store.close()
    finally:
        for host in places:
            host.close()
        disk.close()


def _training(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    if "--events" not in arguments:
        return False
    return any(Path(arguments[arguments.index("--events") - 1]).glob("checkpoint*"))
