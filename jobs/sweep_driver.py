"""The next steps of sweeps: look at jobs that have ended, give up on some, make new ones.

Any number of processes may do this at the same time, and each may die at any point. Whoever works on a sweep holds its
lease; every transaction begins by renewing it under the epoch of the claim, and makes a job and the trial that it
belongs to together. What a step does is told from the rows alone, so that after a crash the next one goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from jobs import jobs, keys, metrics, sweeps
from jobs.errors import InvalidSpecError, LeaseLostError, QuotaExceededError
from jobs.records import Job, Sweep, Trial
from jobs.spec import JobSpec
from jobs.sqltypes import now
from jobs.store import Store
from jobs.sweep_spec import SweepSpec
from jobs.tables import keys as key_table
from jobs.tables import trials
from jobs.validation import Bounds

_log = logging.getLogger(__name__)
_LONGEST_REASON = 400


class Doorbell(Protocol):
    """How workers are told of a new job."""

    def ring_job(self, job_id: str, queue: str) -> None:
        """Say that a job waits in this queue."""


class _SweepFailedError(Exception):
    """A sweep cannot go on; ``code`` and the message say why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class SweepDriver:
    """Takes the next steps of all sweeps of a store."""

    def __init__(self, store: Store, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell

    def _bounds(self, connection: Connection, sweep: Sweep) -> Bounds:
        """What the service allows to the key that made the sweep."""
        if sweep.created_by is None:
            return Bounds(organisation=sweep.organisation_id)
        return Bounds.of(self._store.settings, keys.get(connection, sweep.created_by))

    def run_once(self) -> None:
        """One step of every sweep that nobody else works on and that has something to do."""
        with self._store.read() as connection:
            waiting = sweeps.running(connection)
            found = sweeps.list_trials(connection, [sweep.id for sweep in waiting]) if waiting else {}
        for sweep in waiting:
            if not _has_work(sweep.spec, found[sweep.id]):
                continue
            try:
                self.step(sweep.id)
            except SQLAlchemyError:
                raise
            except Exception:  # noqa: BLE001 - the others go on; this one is tried again when its lease has run out
                _log.warning("a step of sweep %s failed", sweep.id, exc_info=True)

    def step(self, sweep_id: str) -> None:
        """Bring a sweep as far as it goes now."""
        with self._store.write() as connection:
            sweep = sweeps.claim(connection, sweep_id)
        if sweep is None:
            return
        try:
            self._settle(sweep)
            self._prune(sweep)
            self._fill(sweep)
            self._finish(sweep)
        except LeaseLostError:
            _log.info("another process works on sweep %s, or it was cancelled", sweep_id)
        except _SweepFailedError as error:
            self._fail(sweep, error)
        with self._store.write() as connection:
            sweeps.release(connection, sweep)

    def _trials(self, sweep: Sweep) -> list[Trial]:
        with self._store.read() as connection:
            return sweeps.list_trials(connection, [sweep.id])[sweep.id]

    def _settle(self, sweep: Sweep) -> None:
        """Write down what trials came to whose job has ended."""
        ended = [trial for trial in self._trials(sweep) if trial.state == "running" and not trial.busy]
        if not ended:
            return
        with self._store.read() as connection:
            outcomes = {trial.number: _outcome(connection, sweep.spec, trial) for trial in ended}
        with self._store.write() as connection:
            sweeps.renew(connection, sweep)
            for number, values in outcomes.items():
                connection.execute(update(trials).where(*_going(sweep, number)).values(finished_at=now(), **values))

    def _prune(self, sweep: Sweep) -> None:
        """Look at the epochs that running jobs have finished since, and cancel those without a prospect."""
        if sweep.spec.pruning is None:
            return
        from jobs import sweep_engine  # noqa: PLC0415 - imports Optuna, which few processes need

        for trial in self._trials(sweep):
            if trial.state != "running" or trial.job_id is None:
                continue
            with self._store.read() as connection:
                told = _reports(connection, sweep.spec, trial.job_id)
            news = {epoch: value for epoch, value in told.items() if str(epoch) not in trial.reported}
            if not news:
                continue
            others = self._trials(sweep)
            epoch, notes = sweep_engine.judge(sweep, others, trial.number, news, _most_epochs(sweep.spec))
            reported = {**trial.reported, **{str(at): value for at, value in news.items()}}
            with self._store.write() as connection:
                sweeps.renew(connection, sweep)
                values: dict[str, Any] = {"reported": reported, "notes": notes}
                name = sweep.spec.pruning.name
                if epoch is not None and sweeps.cancel_job(connection, trial, reason=f"pruned ({name})"):
                    reason = f"{sweep.spec.metric} of {news[epoch]:.4g} after epoch {epoch} has no prospect ({name})"
                    values |= {"state": "pruned", "reason": reason, "finished_at": now()}
                connection.execute(update(trials).where(*_going(sweep, trial.number)).values(**values))

    def _fill(self, sweep: Sweep) -> None:
        """Make jobs as long as there is room for more."""
        found = self._trials(sweep)
        while len(found) < sweep.spec.jobs and sum(trial.busy for trial in found) < sweep.spec.parallel:
            parameters = _next(sweep, found)
            try:
                with self._store.write() as connection:
                    sweeps.renew(connection, sweep)
                    job = self._make(connection, sweep, len(found), parameters)
            except QuotaExceededError:  # its key has as many jobs waiting as it may: later
                return
            if job is not None:
                self._doorbell.ring_job(job.id, job.queue)
            found = self._trials(sweep)

    def _make(self, connection: Connection, sweep: Sweep, number: int, parameters: Mapping[str, Any]) -> Job | None:
        """A trial and its job; without one, and failed, if these values make no valid spec.

        Raises:
            _SweepFailedError: no values would.
        """
        _check_key(connection, sweep)
        values: dict[str, Any] = {"state": "running"}
        job = None
        name = sweep.name or sweep.spec.base.get("name") or "sweep"
        body = sweep.spec.body(parameters) | {"name": f"{str(name)[:190]} #{number}"}
        try:
            spec = JobSpec.model_validate(body)
            job = jobs.create(
                connection,
                spec,
                created_by=sweep.created_by,
                request_id=sweep.request_id,
                bounds=self._bounds(connection, sweep),
            )
        except ValidationError as error:
            values = _refused(sweep.spec, _wrong_fields(error))
        except InvalidSpecError as error:
            values = _refused(sweep.spec, {fault.field: fault.message for fault in error.errors})
        row = {
            "sweep_id": sweep.id,
            "number": number,
            "job_id": None if job is None else job.id,
            "parameters": dict(parameters),
            "reported": {},
            "notes": {},
            "created_at": now(),
        }
        connection.execute(insert(trials).values(**row, **values))
        return job

    def _finish(self, sweep: Sweep) -> None:
        """End the sweep when its last job has ended."""
        found = self._trials(sweep)
        if len(found) < sweep.spec.jobs or any(trial.busy or trial.state == "running" for trial in found):
            return
        if sweeps.best(sweep.spec, found) is None:
            raise _SweepFailedError("no_result", "none of the jobs came to its end with a value of the metric")
        with self._store.write() as connection:
            sweeps.renew(connection, sweep)
            sweeps.end(connection, sweep.id, "finished")

    def _fail(self, sweep: Sweep, error: _SweepFailedError) -> None:
        _log.warning("sweep %s cannot go on: %s", sweep.id, error)
        try:
            with self._store.write() as connection:
                sweeps.renew(connection, sweep)
                sweeps.end(connection, sweep.id, "failed", {"code": error.code, "message": str(error)})
        except LeaseLostError:
            _log.info("sweep %s was cancelled meanwhile", sweep.id)


def _has_work(spec: SweepSpec, found: Sequence[Trial]) -> bool:
    """Whether a step could change anything: only then is it worth a transaction."""
    busy = sum(trial.busy for trial in found)
    if any(trial.state == "running" and not trial.busy for trial in found):
        return True
    if spec.pruning is not None and any(trial.state == "running" for trial in found):
        return True
    return busy < spec.parallel if len(found) < spec.jobs else busy == 0


def _next(sweep: Sweep, found: Sequence[Trial]) -> dict[str, Any]:
    if sweep.spec.algorithm == "grid":
        return sweep.spec.combination(len(found))
    from jobs import sweep_engine  # noqa: PLC0415 - imports Optuna, which few processes need

    return sweep_engine.suggest(sweep, found)


def _going(sweep: Sweep, number: int) -> tuple[Any, ...]:
    return trials.c.sweep_id == sweep.id, trials.c.number == number, trials.c.state == "running"


def _outcome(connection: Connection, spec: SweepSpec, trial: Trial) -> dict[str, Any]:
    """Columns of a trial whose job has ended."""
    if trial.job_id is None:
        return {"state": "cancelled", "reason": "its job was deleted"}
    told = _reports(connection, spec, trial.job_id)
    values: dict[str, Any] = {"reported": {str(epoch): value for epoch, value in told.items()}}
    if trial.job_state == "cancelled":
        return values | {"state": "cancelled", "reason": "its job was cancelled"}
    if trial.job_state == "failed":
        error = jobs.get(connection, trial.job_id).error or {}
        return values | {"state": "failed", "reason": str(error.get("message", "its job failed"))[:_LONGEST_REASON]}
    value = spec.better(list(told.values()))
    if value is None:
        return values | {"state": "failed", "reason": f"its job reported no finite {spec.metric}"}
    return values | {"state": "succeeded", "value": value}


def _reports(connection: Connection, spec: SweepSpec, job_id: str) -> dict[int, float]:
    """The metric by epoch, counted from 1; what was not finite is left out."""
    for series in metrics.series(connection, job_id, kind="epoch", names=[spec.metric]):
        return {epoch: value for epoch, value in enumerate(series.values, 1) if value is not None}
    return {}


def _most_epochs(spec: SweepSpec) -> int:
    return max(JobSpec.model_validate(spec.body(corner)).epochs for corner in spec.corners())


def _wrong_fields(error: ValidationError) -> dict[str, str]:
    """What is wrong by field; not that defaults which follow from others could not be made."""
    found = (entry for entry in error.errors() if entry["type"] != "default_factory_not_called")
    return {_field(entry["loc"]): entry["msg"] for entry in found}


def _check_key(connection: Connection, sweep: Sweep) -> None:
    """A key that was revoked makes no more jobs."""
    if sweep.created_by is None:
        return
    revoked = connection.execute(
        select(key_table.c.revoked_at).where(key_table.c.id == sweep.created_by)
    ).scalar_one_or_none()
    if revoked is not None:
        raise _SweepFailedError("key_revoked", "the API key that made the sweep was revoked")


def _field(place: tuple[int | str, ...]) -> str:
    """The dotted name of what pydantic refuses, without the name of the variant that it puts into the path."""
    variant = len(place) > 2 and place[0] in {"method", "architecture"}
    return ".".join(map(str, place[:1] + place[2:] if variant else place))


def _refused(spec: SweepSpec, faults: Mapping[str, str]) -> dict[str, Any]:
    """Columns of a trial whose values make no valid spec.

    Raises:
        _SweepFailedError: a field is to blame that the sweep does not search, so that no values would.
    """
    told = "; ".join(f"{field}: {message}" for field, message in faults.items())[:_LONGEST_REASON]
    if any(spec.owner(field).startswith("base") for field in faults):
        raise _SweepFailedError("invalid_spec", told)
    return {"state": "failed", "reason": told, "finished_at": now()}
