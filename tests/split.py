"""How tests are shared out among the worker processes of pytest-xdist (``make test`` starts three, for two cores).

A file's tests stay together and in order, since they share fixtures. Files whose tests find ports for servers, or hold
processes to deadlines, are one group: they follow each other on one worker, which mostly waits. The other workers take
what else waits for processes, then all that only computes, and step back for that where both want a core.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SERIAL = (
    "tests/api/hostile/",
    "tests/api/test_doorbell.py",
    "tests/api/test_models.py",
    "tests/api/test_openai.py",
    "tests/api/page/",
    "tests/api/test_process.py",
    "tests/api/test_tracing.py",
    "tests/benchmarks/accuracy/test_service.py",
    "tests/documentation/test_commands.py",
    "tests/jobs/test_remote_blobs.py",
    "tests/service/test_process.py",
    "tests/service/test_up.py",
    "tests/system/",
    "tests/worker/test_app.py",
    "tests/worker/test_parts.py",
    "tests/worker/test_supervisor.py",
)
PROCESSES = "processes"
PATIENT = ("tests/service/", "tests/worker/")
"""These wait for processes too, but for as long as it takes."""

NICE = 10


def group(nodeid: str) -> str:
    """What a test shares its worker with: its file, or all of ``SERIAL``."""
    return PROCESSES if nodeid.startswith(SERIAL) else nodeid.partition("::")[0]


class Scheduler(LoadScopeScheduling):
    """Gives the next group to the first worker that is free."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    config.option.loadscopereorder = False  # the items are sorted, below
    return Scheduler(config, log)


class Worker:
    """One of several: takes long files first, so that all end at the same time, and steps back to compute."""

    def __init__(self) -> None:
        self.computes = False

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        slow = {group(item.nodeid) for item in items if item.get_closest_marker("slow")}

        def rank(item: pytest.Item) -> tuple[bool, bool, bool]:
            name = group(item.nodeid)
            return name != PROCESSES, not name.startswith(PATIENT), name not in slow

        items.sort(key=rank)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if not self.computes and not group(nodeid).startswith((PROCESSES, *PATIENT)):
            self.computes = True
            os.nice(NICE)  # there is no way back, and no need: all that waits for processes has begun


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Worker())
