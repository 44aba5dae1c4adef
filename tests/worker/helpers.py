"""Scripted jobs, and waiting for what they do."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs import events, jobs
from jobs.records import Job, JobEvent
from jobs.store import Store
from tests.jobs.helpers import get, submit

FAKE = [sys.executable, str(Path(__file__).with_name("fake_child.py"))]

QUICK: dict[str, Any] = {
    "lease_seconds": 2.0,
    "heartbeat_seconds": 0.3,
    "watch_seconds": 0.05,
    "flush_seconds": 0.05,
    "reaper_seconds": 0.1,
    "poll_seconds": 0.2,
    "retry_backoff_seconds": 0.0,
    "stop_grace_seconds": 5.0,
    "kill_grace_seconds": 0.2,
    "threads": 1,
}


def scripted(store: Store, **script: Any) -> Job:
    return submit(store, name=json.dumps(script))


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def reached(store: Store, job_id: str, *states: str, seconds: float = 20.0) -> Job:
    until(lambda: get(store, job_id).state in states, seconds)
    return get(store, job_id)


def step(store: Store, job_id: str) -> int:
    return int((get(store, job_id).progress or {}).get("step", 0))


def log(store: Store, job_id: str) -> list[JobEvent]:
    with store.read() as connection:
        return events.read(connection, job_id, limit=10_000)


def moves(store: Store, job_id: str) -> list[str]:
    return [event.data["to"] for event in log(store, job_id) if event.type == "state"]


def cancel(store: Store, job_id: str) -> None:
    with store.write() as connection:
        jobs.request_cancel(connection, job_id)


def pause(store: Store, job_id: str) -> None:
    with store.write() as connection:
        jobs.request_pause(connection, job_id)


def chain(steps: int) -> bytes:
    """The result of a scripted job that took so many steps, each once and in order."""
    value = "start"
    for number in range(1, steps + 1):
        value = hashlib.sha256(f"{value} {number}".encode()).hexdigest()
    return value.encode()


def gone(pid: int) -> bool:
    """Whether a process has ended (one that only waits to be cleared away has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def children(pid: int) -> list[int]:
    """The children of a process that train or inspect (not its servers)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and b"--events" in command:
            found.append(int(stat.parent.name))
    return found
