"""Brings faults upon a cluster, one after the other; each may still last when the next one comes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import redis

from tests.system.chaos.cluster import Cluster, WorkerHost
from tests.system.chaos.part import Part
from tests.system.chaos.schedule import Fault, Kind
from tests.system.chaos.servers import LockedFile

Undo = Callable[[], object]

_MOMENT_SECONDS = 5.0
_LOOK_SECONDS = 0.01


class MissedError(Exception):
    """The fault had nothing to hit."""


class Nemesis:
    """Works through a schedule. ``done`` counts the faults that hit, by kind; ``missed`` those that did not."""

    def __init__(self, cluster: Cluster, faults: Iterator[Fault], stop: threading.Event) -> None:
        self._cluster = cluster
        self._faults = faults
        self._stop = stop
        self._lasting: list[threading.Thread] = []
        self.done: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()
        self.broken: list[str] = []

    def run(self, count: int, due: Callable[[int], bool]) -> None:
        """Bring so many faults, the next one as soon as it is ``due``; return when the last one is over."""
        while self.done.total() < count and not self._stop.is_set():
            while not due(self.done.total()) and not self._stop.wait(_LOOK_SECONDS):
                pass
            fault = next(self._faults)
            self._await_moment(fault)
            self._stop.wait(fault.delay)
            try:
                undo = self._bring(fault)
            except MissedError:
                self.missed[fault.kind] += 1
                continue
            self.done[fault.kind] += 1
            if undo is not None:
                self._lasting.append(threading.Thread(target=self._end, args=(fault, undo)))
                self._lasting[-1].start()
        for thread in self._lasting:
            thread.join()

    def _end(self, fault: Fault, undo: Undo) -> None:
        self._stop.wait(fault.seconds)
        try:
            undo()
        except Exception as error:  # noqa: BLE001 - told in the report: what was not undone spoils the run
            self.broken.append(f"{fault.kind} could not be undone: {error!r}")

    def _await_moment(self, fault: Fault) -> None:
        deadline = time.monotonic() + _MOMENT_SECONDS
        host = self._host(fault)
        while fault.in_training and not host.training() and time.monotonic() < deadline:
            self._stop.wait(_LOOK_SECONDS)

    def _host(self, fault: Fault) -> WorkerHost:
        return self._cluster.hosts[fault.host]

    def _bring(self, fault: Fault) -> Undo | None:
        """Bring a fault; return what ends it, if that is not up to the cluster itself."""
        host, cluster = self._host(fault), self._cluster
        match fault.kind:
            case Kind.KILL_WORKER:
                return _signal(host.part, signal.SIGKILL)
            case Kind.DRAIN_WORKER:
                return _signal(host.part, signal.SIGTERM)
            case Kind.STOP_WORKER:
                _signal(host.part, signal.SIGSTOP)
                process = host.part.process
                return lambda: process.send_signal(signal.SIGCONT)
            case Kind.KILL_CHILD:
                return self._signal_child(host, signal.SIGKILL)
            case Kind.STOP_CHILD:
                return self._signal_child(host, signal.SIGSTOP)
            case Kind.KILL_API:
                return _signal(cluster.api, signal.SIGKILL)
            case Kind.KILL_BROKER:
                return _signal(cluster.broker, signal.SIGKILL)
            case Kind.FLUSH_BROKER:
                return _flush()
            case Kind.KILL_DATABASE | Kind.RESTART_DATABASE:
                assert cluster.server is not None
                cluster.server.stay_away(fault.seconds)
                return _signal(cluster.server, signal.SIGKILL if fault.kind is Kind.KILL_DATABASE else signal.SIGINT)
            case Kind.LOCK_DATABASE:
                return LockedFile(cluster.disk.root / "fqt.db").release
            case Kind.CUT_LINK:
                host.link.cut()
                return host.link.heal
            case Kind.FILL_DISK:
                return cluster.disk.fill(f"filled-{time.monotonic_ns()}").unlink
            case Kind.JUMP_CLOCK:
                return host.clock.leap(fault.seconds)

    def _signal_child(self, host: WorkerHost, number: signal.Signals) -> Undo | None:
        children = host.children()
        if not children:
            raise MissedError
        with suppress(ProcessLookupError):
            os.kill(children[0], number)
        return (lambda: _go_on(children[0])) if number is signal.SIGSTOP else None


def _go_on(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _signal(part: Part, number: signal.Signals) -> None:
    if not part.running:
        raise MissedError
    part.process.send_signal(number)


def _flush() -> None:
    try:
        with redis.Redis(socket_timeout=1.0, socket_connect_timeout=1.0) as connection:
            connection.flushall()
    except redis.RedisError as error:
        raise MissedError from error
