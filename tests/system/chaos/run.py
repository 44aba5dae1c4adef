"""One run: a cluster, jobs, faults, and the verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from fqt_client import FqtClientError
from tests.system.chaos.cluster import LEASE_SECONDS, START_SECONDS, Cluster, cluster
from tests.system.chaos.history import Verdict, judge
from tests.system.chaos.nemesis import Nemesis
from tests.system.chaos.schedule import schedule
from tests.system.chaos.workload import Workload, answered, ended, scripts, specs, upload_images
from tests.worker.helpers import until

HOSTS = 3
_SPECS = 4
_WAITING = 8  # jobs that are accepted and have not ended
_AHEAD = 6  # jobs do not run ahead of the faults by more than so many faults' share
_LONGEST_CALM_SECONDS = 30.0
_SAY_SECONDS = 5.0
_REST_SECONDS = 600.0  # after the last fault, or after the last job that ended


@dataclass(frozen=True)
class Options:
    """What to run: so many jobs under so many faults; after so many ``seconds``, no more of either come.

    ``scripted``: children only play training, which takes a tenth of the processor time.
    """

    seed: int
    jobs: int
    faults: int
    seconds: float = inf
    scripted: bool = False


@dataclass(frozen=True)
class Report:
    """What a run came to.

    ``faults`` and ``missed`` (those that had nothing to hit) are numbers by kind; ``lost``, ``doubled`` and
    ``mismatched`` numbers of what :class:`~.history.Verdict` found, which ``findings`` tells in words, with what went
    wrong with the run itself. ``resumed`` of the ``attempts`` went on from a checkpoint. Times are in seconds.
    """

    database: str
    seed: int
    jobs: int
    attempts: int
    resumed: int
    faults: dict[str, int]
    missed: dict[str, int]
    lost: int
    doubled: int
    mismatched: int
    findings: list[str]
    seconds: float
    folder: str

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, with the service or with the run itself."""
        return not self.findings


def run(options: Options, folder: Path, database: str, say: Callable[[str], None]) -> Report:
    """Run jobs under faults, in an empty folder."""
    with cluster(folder, database, HOSTS, scripted=options.scripted) as service:
        _until_ready(service)
        kinds = min(_SPECS, -(-options.jobs // 2))  # each is to come more than once
        if options.scripted:
            workload = Workload(service, scripts(kinds))
        else:
            with service.client() as client:
                workload = Workload(service, specs(upload_images(client, folder), kinds))
        workload.run_calmly()
        return _Run(options, service, workload, say).report(folder)


def _until_ready(service: Cluster) -> None:
    def ready() -> bool:
        try:
            with service.client() as client:
                return client.ready().get("worker") is True
        except FqtClientError:
            return False

    until(ready, START_SECONDS)


class _Run:
    """Submits jobs and brings faults, so that both are spread over the whole run; then waits for the rest."""

    def __init__(self, options: Options, service: Cluster, workload: Workload, say: Callable[[str], None]) -> None:
        self._options, self._service, self._workload, self._say = options, service, workload, say
        self._jobs, self._faults = options.jobs, options.faults
        self._ended = 0
        self._last_fault = self._began = time.monotonic()
        self._stop = threading.Event()
        plan = schedule(options.seed, service.database, HOSTS, LEASE_SECONDS)
        self._nemesis = Nemesis(service, plan, self._stop)

    def report(self, folder: Path) -> Report:
        submitter = threading.Thread(target=self._workload.submit, args=(self._jobs, self._may_submit, self._stop))
        nemesis = threading.Thread(target=self._nemesis.run, args=(self._faults, self._due))
        self._began = time.monotonic()
        submitter.start()
        nemesis.start()
        said, deadline = 0.0, self._began
        try:
            while (busy := submitter.is_alive() or nemesis.is_alive()) or self._ended < len(self._workload.accepted):
                time.sleep(0.1)
                before, self._ended = self._ended, ended(self._service.store) - len(self._workload.calm)
                instant = time.monotonic()
                if instant - said > _SAY_SECONDS:
                    said = instant
                    self._say(self._progress())
                if instant > self._began + self._options.seconds:
                    self._stop.set()
                if busy or self._ended > before:
                    deadline = instant + _REST_SECONDS
                elif instant > deadline:
                    break
        finally:
            self._stop.set()
            submitter.join()
            nemesis.join()
        return self._reported(folder, time.monotonic() - self._began)

    def _reported(self, folder: Path, seconds: float) -> Report:
        work, nemesis = self._workload, self._nemesis
        # The last fault may be one that the database has yet to notice.
        verdict: Verdict = answered(lambda: judge(self._service.store, work.accepted, work.calm, len(work.calm)))
        findings = [*verdict.lost, *verdict.doubled, *verdict.mismatched, *nemesis.broken]
        if len(work.accepted) < self._jobs and self._options.seconds == inf:
            findings.append(f"only {len(work.accepted)} of {self._jobs} jobs were accepted")
        return Report(
            database=self._service.database,
            seed=self._options.seed,
            jobs=len(work.accepted),
            attempts=verdict.attempts,
            resumed=verdict.resumed,
            faults={kind.value: count for kind, count in nemesis.done.items()},
            missed={kind.value: count for kind, count in nemesis.missed.items()},
            lost=len(verdict.lost),
            doubled=len(verdict.doubled),
            mismatched=len(verdict.mismatched),
            findings=findings,
            seconds=round(seconds, 1),
            folder=str(folder),
        )

    def _may_submit(self, number: int) -> bool:
        share = self._jobs / self._faults
        return number < min(self._ended + _WAITING, (self._nemesis.done.total() + _AHEAD) * share)

    def _due(self, number: int) -> bool:
        """A fault is due when its share of the jobs has ended, or when it has been calm for long."""
        instant = time.monotonic()
        if self._ended * self._faults < number * self._jobs and instant - self._last_fault < _LONGEST_CALM_SECONDS:
            return False
        self._last_fault = instant
        return True

    def _progress(self) -> str:
        return (
            f"{self._service.database}: {self._ended}/{self._jobs} jobs ended, "
            f"{self._nemesis.done.total()}/{self._faults} faults, {time.monotonic() - self._began:.0f} s"
        )
