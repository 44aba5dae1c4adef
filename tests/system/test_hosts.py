"""Workers on hosts of their own (network namespaces): one is cut off with a job in hand, and its link heals."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobs import artifacts
from jobs.settings import Settings
from jobs.store import Store
from tests.jobs.helpers import get
from tests.system.chaos import servers
from tests.system.chaos.hosts import Host, Link, why_not
from tests.system.chaos.part import Part
from tests.worker.helpers import QUICK, chain, children, gone, log, moves, reached, scripted, step, until
from tests.worker.processes import ROOT, SCRIPT

STEPS = 400


class Site:
    """API, database and broker on one host, reached by two others over a link each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts: list[Part] = []
        self.hosts = [Host() for _ in range(3)]
        centre, *others = self.hosts
        self.links = [Link(number, centre, host) for number, host in enumerate(others, 1)]
        for server in (servers.postgresql(folder, centre), servers.valkey(folder, centre)):
            self._run(server)
        data = folder / "postgresql"
        until(lambda: _takes_connections(data))
        self.settings = Settings(
            data_dir=folder / "data", database_url=f"postgresql://postgres@/postgres?host={data}", secret="s", **QUICK
        )
        self.store = Store.open(self.settings, migrate=True)
        self.api = self._service("api", "-m", "api", host=centre, address="127.0.0.1")

    def worker(self, number: int) -> Part:
        """Start a worker with scripted children on one of the other hosts."""
        host, link = self.hosts[number], self.links[number - 1]
        return self._service(f"worker-{number}", str(SCRIPT), host=host, address=link.first)

    def close(self) -> None:
        for part in self.parts:
            part.kill()
        self.store.close()
        for host in self.hosts:
            host.close()

    def _service(self, name: str, *arguments: str, host: Host, address: str) -> Part:
        values: dict[str, Any] = QUICK | {
            "data_dir": self.folder / name,
            "blob_dir": self.settings.blobs,
            "database_url": f"postgresql://postgres@{address}/postgres",
            "broker_url": f"redis://{address}:6379/0",
            "secret": "s",
        }
        environment = {f"FQT_{key.upper()}": str(value) for key, value in values.items()} | {"PYTHONPATH": str(ROOT)}
        return self._run(Part(name, host.command(sys.executable, *arguments), environment, self.folder / f"{name}.log"))

    def _run(self, part: Part) -> Part:
        part.start()
        self.parts.append(part)
        return part


def _takes_connections(data: Path) -> bool:
    """Whether PostgreSQL has started up: its socket is there a moment before."""
    try:
        psycopg.connect(f"postgresql://postgres@/postgres?host={data}").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def site() -> Iterator[Site]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="fqt-hosts-"))  # not below pytest's own: PostgreSQL is another user
    folder.chmod(0o711)
    made = Site(folder)
    yield made
    made.close()
    shutil.rmtree(folder)


def test_a_host_that_is_cut_off_loses_its_job_to_another_and_writes_nothing_when_its_link_heals(site: Site) -> None:
    store, settings = site.store, site.settings
    workers = [site.worker(1), site.worker(2)]
    for started in workers:
        until(lambda log_file=started.log: '"worker starts"' in log_file.read_text(), 60)
    job = scripted(store, steps=STEPS, pause=0.01, every=20, deaf=True)
    until(lambda: step(store, job.id) >= 50)
    [(worker, link)] = [pair for pair in zip(workers, site.links, strict=True) if children(pair[0].process.pid)]
    [orphan] = children(worker.process.pid)

    cut = time.monotonic()
    link.cut()
    until(lambda: gone(orphan))  # it cannot know who has its job by now, so it is over
    assert time.monotonic() - cut < settings.lease_seconds + settings.heartbeat_seconds + 0.5  # the machine is busy
    until(lambda: get(store, job.id).lease_epoch == 2)
    print(f"cut off: its child dead, and the job with another host after {time.monotonic() - cut:.2f} s")
    assert not children(worker.process.pid)
    link.heal()

    reached(store, job.id, "succeeded")
    next(entry for entry in workers if entry is not worker).kill()
    reached(store, scripted(store, steps=5).id, "succeeded", seconds=40)  # by the host that was cut off
    events = log(store, job.id)
    assert moves(store, job.id) == ["queued", "running", "queued", "running", "succeeded"]
    assert all(earlier.epoch <= later.epoch for earlier, later in pairwise(events))
    assert [event.seq for event in events] == list(range(1, get(store, job.id).next_seq))
    starts = [event.data["started"]["step"] for event in events if "started" in event.data]
    assert starts[0] == 0 < starts[1]
    with store.read() as connection:
        model = artifacts.get(connection, job.id, "model.safetensors")
    assert store.blobs.verify(model.sha256).read_bytes() == chain(STEPS)
