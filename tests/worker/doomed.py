"""Supervisors that are killed at a commit, one after the other: a line of input is an order, answered by its outcome.

An order is JSON: ``settings``, the number of the ``commit``, and ``after``: whether the kill comes when that commit is
durable, or when it is about to be made. Each runs in a fork of this process, which has loaded everything already.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

from jobs import logs
from jobs.settings import Settings
from jobs.store import Store
from worker.slots import Slots

CHILD = [sys.executable, "-S", str(Path(__file__).with_name("quick_child.py"))]


def doom(engine: Engine, number: int, *, after: bool) -> None:
    """Have this process killed at its commit of that number, counted from 1; those of transactions that only read do
    not count."""
    state = threading.local()
    counted = [0]
    commit = engine.dialect.do_commit

    def about_to_commit(connection: Connection) -> None:
        state.writes = not connection.get_execution_options().get("fqt_read_only", False)
        if state.writes:
            counted[0] += 1
            if counted[0] == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)

    def do_commit(connection: Any) -> None:
        commit(connection)
        if after and state.writes and counted[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "commit", about_to_commit)
    engine.dialect.do_commit = do_commit  # type: ignore[method-assign]


def run(order: dict[str, Any]) -> None:
    store = Store.open(Settings(**order["settings"]))
    doom(store.engine, order["commit"], after=order["after"])
    Slots(store, threading.Event(), CHILD).work()


def serve(work: Callable[[dict[str, Any]], None]) -> None:
    """Work on the orders of standard input, each in a fork; answer with its exit code."""
    logs.configure("error")
    for line in sys.stdin:
        if (pid := os.fork()) == 0:
            try:
                work(json.loads(line))
            except BaseException as error:  # noqa: BLE001 - the exit code tells
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(run)
