"""One run on two hosts (network namespaces) without files in common: a process is lost, then a whole host.

Its weights are those of a calm run on one host.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.chaos.hosts import LEASHED, Host, Link, why_not
from tests.worker.helpers import gone, until
from tests.worker.processes import ROOT

SPEC = {
    "architecture": {"name": "convnet", "width": 0.25, "image_size": 8, "channels": 1},
    "classes": ["0", "1"],
    "training": {"epochs": 10, "batch_size": 16, "checkpoint_every_steps": 10, "seed": 3},
    "parallel": {"processes": 2, "gradient_bits": 2, "sync_batch_norm": True},
}
STEPS = 10 * 18


class Site:
    """Two hosts and a link between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hosts = [Host(), Host()]
        self.link = Link(1, *self.hosts)
        self.running: list[subprocess.Popen[bytes]] = []
        (folder / "spec.json").write_text(json.dumps(SPEC))

    def start(self, name: str, host: Host, *arguments: str) -> subprocess.Popen[bytes]:
        """Give the command on a host; its folder and its log have the name."""
        command = [sys.executable, "-m", "fqt_core.parallel", str(self.folder / "spec.json"), "--data", "digits"]
        output = self.folder / name
        output.mkdir(exist_ok=True)
        with (output / "log").open("ab") as log:
            process = subprocess.Popen(
                [*LEASHED, *host.command(*command, "--output", str(output), *arguments)],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )
        self.running.append(process)
        return process

    def join(self, number: int) -> subprocess.Popen[bytes]:
        """Give the command on one of the hosts of the run."""
        address = (self.link.first, self.link.second)[number]
        rendezvous = f"{self.link.first}:29400"
        options = ("--hosts", "2", "--rendezvous", rendezvous, "--address", address)
        return self.start(f"host-{number}", self.hosts[number], *options)

    def events(self) -> list[dict[str, Any]]:
        """What both hosts have said."""
        lines = [line for log in self.folder.glob("host-*/log") for line in log.read_text().splitlines()]
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def steps(self, beginning: int) -> int:
        """Steps since the run began for so many times."""
        starts = [event for event in self.events() if event["type"] == "started"]
        if len(starts) < beginning:
            return 0
        return sum(event["type"] == "step" for event in self.events()[self.events().index(starts[beginning - 1]) :])

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        for host in self.hosts:
            host.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    made = Site(tmp_path)
    yield made
    made.close()


def rank_of(agent: int) -> int:
    """The process that an agent started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == agent and b"fqt_core.parallel.run" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError("no process")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_two_hosts_outlives_the_loss_of_a_process_and_of_a_host(site: Site) -> None:
    first, second = site.join(0), site.join(1)
    until(lambda: site.steps(1) >= 15, 120)
    os.kill(rank_of(second.pid), signal.SIGKILL)
    until(lambda: site.steps(2) >= 15, 120)

    lost = rank_of(second.pid)
    second.kill()
    until(lambda: gone(lost), 10)
    second = site.join(1)
    until(lambda: site.steps(3) >= 1, 120)
    assert (first.wait(120), second.wait(120)) == (0, 0)
    assert [event["step"] for event in site.events() if event["type"] == "done"] == [STEPS]
    starts = [event["step"] for event in site.events() if event["type"] == "started"]
    assert starts[0] == 0 < starts[1] < starts[2]

    assert site.start("calm", site.hosts[0]).wait(120) == 0
    [result] = site.folder.glob("host-*/weights.safetensors")
    assert result.read_bytes() == (site.folder / "calm" / "weights.safetensors").read_bytes()
    assert not list(site.folder.glob("*/checkpoints/received-*"))
