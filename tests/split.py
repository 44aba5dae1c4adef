"""How tests are shared out among the worker processes of pytest-xdist (``make test`` starts two).

A file's tests stay together and in order, since they share fixtures. Files whose tests start servers, kill processes or
hold others to deadlines are one group: they follow each other on one worker, and no two of them run at the same time.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

PROCESSES = ("tests/api/test_page.py", "tests/api/test_process.py", "tests/service/", "tests/system/", "tests/worker/")


def group(nodeid: str) -> str:
    """What a test shares its worker with: the name of its file, or ``processes``."""
    return "processes" if nodeid.startswith(PROCESSES) else nodeid.partition("::")[0]


class Scheduler(LoadScopeScheduling):
    """Gives a group to the next worker that is free."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduler:
    config.option.loadscopereorder = False  # as the items are sorted below
    return Scheduler(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among several workers, what takes longest begins first, so that all come to their ends at the same time."""
    if not hasattr(config, "workerinput"):
        return
    slow = {group(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> int:
        name = group(item.nodeid)
        return 0 if name == "processes" else 1 if name in slow else 2

    items.sort(key=rank)
