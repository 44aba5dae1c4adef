"""Judges a run by what is in the store afterwards: what every accepted job, its log and its files must look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from jobs import artifacts, events, jobs, models
from jobs.audit import audit
from jobs.errors import NotFoundError
from jobs.records import Job, JobEvent
from jobs.states import ACTIVE, LEGAL, TERMINAL, JobState
from jobs.store import Store
from jobs.tables import jobs as table

_ALL = 1_000_000


@dataclass
class Verdict:
    """What is wrong, in words, one entry for each job or file that it is wrong with.

    ``lost``: accepted jobs that did not come to a result. ``doubled``: jobs that nobody had accepted, that ended or
    were started more than once, or that two attempts wrote to at a time. ``mismatched``: other weights than without
    faults, logs with gaps, files that are missing or not what was written.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    attempts: int = 0
    resumed: int = 0

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.mismatched)


def files(job: Job) -> dict[str, str]:
    """SHA-256 of the files that a job's result names, but for report and card, which have times and ids in them."""
    named = (job.result or {}).get("artifacts", {})
    return {name: row["sha256"] for name, row in named.items() if row["kind"] not in {"report", "card"}}


def judge(store: Store, accepted: Mapping[str, int], calm: Sequence[Mapping[str, str]], others: int) -> Verdict:
    """Judge what the store holds.

    Args:
        accepted: the jobs that were accepted, each with the number of its spec.
        calm: the :func:`files` that each spec leads to without faults.
        others: how many jobs there are besides.
    """
    verdict = Verdict()
    with store.read() as connection:
        for job_id, spec in accepted.items():
            try:
                _judge_job(connection, verdict, jobs.get(connection, job_id), calm[spec])
            except NotFoundError:
                verdict.lost.append(f"{job_id}: accepted, and not there")
        rows = len(connection.execute(select(table.c.id)).all())
    if rows != len(accepted) + others:
        verdict.doubled.append(f"{rows} jobs, where {len(accepted) + others} were accepted")
    found = audit(store)
    verdict.mismatched += [f"{job_id}: gaps in its log" for job_id in found.gaps]
    for what, files in (("missing", found.missing), ("damaged", found.damaged)):
        verdict.mismatched += [f"{', '.join(users)}: the file is {what}" for users in files.values()]
    return verdict


def _judge_job(connection: Connection, verdict: Verdict, job: Job, calm: Mapping[str, str]) -> None:
    log = events.read(connection, job.id, limit=_ALL)
    verdict.attempts += job.lease_epoch
    verdict.resumed += sum(event.data["started"]["step"] > 0 for event in log if "started" in event.data)
    if job.state is not JobState.SUCCEEDED:
        verdict.lost.append(f"{job.id}: {job.state} ({(job.error or {}).get('message')})")
        return
    if fault := _doubled(job, log):
        verdict.doubled.append(f"{job.id}: {fault}")
    if [event.seq for event in log] != list(range(1, job.next_seq)):
        verdict.mismatched.append(f"{job.id}: its log is not numbered from 1 without gaps")
    rows = {row.name: row for row in artifacts.list_artifacts(connection, job.id)}
    told = {name: row["sha256"] for name, row in (job.result or {}).get("artifacts", {}).items()}
    if {name: row.sha256 for name, row in rows.items()} != told:
        verdict.mismatched.append(f"{job.id}: its result names other files than it has")
    if any(row.epoch != job.lease_epoch for row in rows.values()):
        verdict.doubled.append(f"{job.id}: has files of an attempt that did not finish it")
    made = models.list_models(connection, organisation=job.organisation_id, job_id=job.id).data
    named = (job.result or {}).get("model")
    if [row.id for row in made] != ([] if named is None else [named]):
        verdict.doubled.append(f"{job.id}: has {len(made)} models")
    if files(job) != calm or not calm:
        verdict.mismatched.append(f"{job.id}: other weights than without faults")


def _doubled(job: Job, log: Sequence[JobEvent]) -> str | None:
    """What shows that two attempts had the job at a time, or that it ended twice; ``None`` if nothing does."""
    state, epoch = None, 0
    for event in log:
        if event.type == "state":
            source, state = event.data["from"], JobState(event.data["to"])
            if source is not None and state not in LEGAL[JobState(source)]:
                return f"went from {source} to {state} (event {event.seq})"
            epoch += state is JobState.RUNNING
        elif state not in ACTIVE:
            return f"something was written while nobody had it (event {event.seq}, {state})"
        if event.epoch != epoch:
            return f"attempt {event.epoch} wrote while attempt {epoch} had it (event {event.seq})"
    ends = sum(event.type == "state" and event.data["to"] in TERMINAL for event in log)
    if ends != 1 or state is not job.state or epoch != job.lease_epoch:
        return f"ended {ends} times, after {epoch} attempts of {job.lease_epoch}"
    return None
