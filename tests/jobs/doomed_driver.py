"""A step of a sweep in a process that is killed at a commit; orders as in :mod:`tests.worker.doomed`, and the sweep."""

from __future__ import annotations

from typing import Any

from jobs.settings import Settings
from jobs.store import Store
from jobs.sweep_driver import SweepDriver
from tests.jobs import sweep_world
from tests.worker.doomed import doom, serve


def run(order: dict[str, Any]) -> None:
    store = Store.open(Settings(**order["settings"]))
    doom(store.engine, order["commit"], after=order["after"])
    SweepDriver(store, sweep_world.Silence()).step(order["sweep"])


if __name__ == "__main__":
    from jobs import sweep_engine  # noqa: F401 - loaded once, before the forks

    serve(run)
