"""What a sweep came to, as a report: trials that differ in nothing but the seed are one row, with mean and deviation.

Made for comparisons of methods over seeds; any sweep has one. Imports NumPy (through :mod:`jobs.curves`), so the API
process imports this when it is first needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from sqlalchemy import Connection, select

from fqt_core.config import AnyMethod, MethodConfig
from fqt_core.config.cost import StepCost, step_cost
from jobs import curves, sweeps
from jobs.records import Sweep, Trial
from jobs.spec import JobSpec
from jobs.steps import steps_per_epoch
from jobs.tables import jobs

SEED = "training.seed"

_SECONDS = "seconds"
_NOISE = "/accumulated_dw_relative_variance"
_JOBS_AT_ONCE = 64
_METHODS: TypeAdapter[MethodConfig] = TypeAdapter(AnyMethod)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over ``count`` values; no deviation of a single one."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of some values; ``None`` of none."""
        if not values:
            return None
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Run:
    """One trial of a row: its seed if that is searched, what became of its job, and its figures where there are any.

    ``gradient_variance`` is the relative variance that arrives at the weights' gradients (``docs/telemetry.md``): the
    mean over a layer's reports, of all layers the median. ``seconds_per_epoch`` is the median over epochs.
    ``memory_bytes`` is the peak of the training process beyond what it had before its data and network.
    """

    number: int
    job: str | None
    state: str
    seed: Any
    value: float | None
    reason: str | None
    seconds_per_epoch: float | None
    memory_bytes: int | None
    gradient_variance: float | None
    model_bytes: int | None


@dataclass(frozen=True)
class Row:
    """The trials of one point of the space but for the seed.

    ``label`` tells it from the others in a few words. ``arithmetic`` and ``kernels`` are what the jobs ran in, as their
    records say. ``cost`` is that of one step (:mod:`fqt_core.config.cost`); ``None`` until a job has succeeded.
    """

    label: str
    parameters: dict[str, Any]
    runs: list[Run]
    arithmetic: str | None
    kernels: str | None
    cost: StepCost | None
    steps_per_epoch: int | None
    value: Spread | None
    seconds_per_epoch: Spread | None
    memory_bytes: Spread | None
    gradient_variance: Spread | None
    model_bytes: int | None


@dataclass(frozen=True)
class _Job:
    spec: JobSpec
    record: Mapping[str, Any]
    result: Mapping[str, Any]


def report(connection: Connection, sweep: Sweep) -> list[Row]:
    """The rows of a sweep as it stands, in the order of their first trials.

    Give it one view of the data (:func:`jobs.database.snapshot`).
    """
    trials = sweeps.list_trials(connection, [sweep.id])[sweep.id]
    ids = [trial.job_id for trial in trials if trial.job_id is not None]
    found: dict[str, _Job] = {}
    seconds: dict[str, float] = {}
    noise: dict[str, float] = {}
    for first in range(0, len(ids), _JOBS_AT_ONCE):
        part = ids[first : first + _JOBS_AT_ONCE]
        columns = (jobs.c.id, jobs.c.spec, jobs.c.record, jobs.c.result)
        for row in connection.execute(select(*columns).where(jobs.c.id.in_(part))):
            found[row.id] = _Job(JobSpec.model_validate(row.spec), row.record or {}, row.result or {})
        seconds |= _seconds(connection, part)
        noise |= _noise(connection, part)
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(json.dumps(_without_seed(trial.parameters), sort_keys=True), []).append(trial)
    return [_row(group, found, seconds, noise) for group in groups.values()]


def _row(
    group: Sequence[Trial], found: Mapping[str, _Job], seconds: Mapping[str, float], noise: Mapping[str, float]
) -> Row:
    parameters = _without_seed(group[0].parameters)
    jobs_of_row = [job for trial in group if (job := found.get(trial.job_id or "")) is not None]
    runs = [_run(trial, found.get(trial.job_id or ""), seconds, noise) for trial in group]
    succeeded = [run for run in runs if run.state == "succeeded"]
    costs = [cost for job in jobs_of_row if (cost := _cost(job)) is not None]
    models = [run.model_bytes for run in succeeded if run.model_bytes is not None]
    return Row(
        label=_label(parameters),
        parameters=parameters,
        runs=runs,
        arithmetic=_told(jobs_of_row, "arithmetic"),
        kernels=_told(jobs_of_row, "isa"),
        cost=costs[0][0] if costs else None,
        steps_per_epoch=costs[0][1] if costs else None,
        value=Spread.of([run.value for run in succeeded if run.value is not None]),
        seconds_per_epoch=Spread.of([run.seconds_per_epoch for run in succeeded if run.seconds_per_epoch is not None]),
        memory_bytes=Spread.of([run.memory_bytes for run in succeeded if run.memory_bytes is not None]),
        gradient_variance=Spread.of([run.gradient_variance for run in succeeded if run.gradient_variance is not None]),
        model_bytes=max(models, default=None),
    )


def _run(trial: Trial, job: _Job | None, seconds: Mapping[str, float], noise: Mapping[str, float]) -> Run:
    result = {} if job is None else job.result
    files = result.get("artifacts", {}).values()
    return Run(
        number=trial.number,
        job=trial.job_id,
        state=trial.state,
        seed=trial.parameters.get(SEED),
        value=trial.value,
        reason=trial.reason,
        seconds_per_epoch=seconds.get(trial.job_id or ""),
        memory_bytes=result.get("memory_bytes"),
        gradient_variance=noise.get(trial.job_id or ""),
        model_bytes=next((file["size"] for file in files if file["kind"] == "model"), None),
    )


def _cost(job: _Job) -> tuple[StepCost, int] | None:
    """Of a step, and how many an epoch has; ``None`` before the job has succeeded, and of trees."""
    if job.spec.task == "tabular" or not {"classes", "train_images"} <= job.result.keys():
        return None
    training, images = job.spec.training, job.result["train_images"]
    step = min(training.batch_size, images)
    chosen = job.record.get("bits_chosen")
    method = job.spec.method if chosen is None else _METHODS.validate_python(chosen["method"])
    cost = step_cost(
        job.spec.network,
        len(job.result["classes"]),
        method,
        images=step,
        micro_batches=training.micro_batches(step),
        optimizer=training.optimizer,
    )
    return cost, steps_per_epoch(images, job.spec)


def _seconds(connection: Connection, job_ids: Sequence[str]) -> dict[str, float]:
    """Median over the epochs of each job."""
    found = {}
    for job_id, told in curves.read(connection, job_ids, ["epoch"], names=[_SECONDS]).items():
        values = [value for curve in told for value in curve.values.tolist() if np.isfinite(value)]
        if values:
            found[job_id] = median(values)
    return found


def _noise(connection: Connection, job_ids: Sequence[str]) -> dict[str, float]:
    """Of each job the median layer's mean over its reports."""
    found = {}
    for job_id, told in curves.read(connection, job_ids, ["telemetry"]).items():
        layers = [curve.values[np.isfinite(curve.values)] for curve in told if curve.name.endswith(_NOISE)]
        means = [float(values.mean()) for values in layers if len(values)]
        if means:
            found[job_id] = median(means)
    return found


def _told(found: Sequence[_Job], name: str) -> str | None:
    """What the records of jobs say; where they differ, all of it."""
    values = dict.fromkeys(str(job.record[name]) for job in found if name in job.record)
    return ", ".join(values) or None


def _without_seed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != SEED}


def _label(parameters: Mapping[str, Any]) -> str:
    return " · ".join(
        _words(value) if name in {"method", "architecture"} else f"{name.rpartition('.')[2]} {_words(value)}"
        for name, value in parameters.items()
    )


def _words(value: Any) -> str:
    """A value in a few words; of an object with a name this, and the options that were given."""
    if not isinstance(value, dict) or "name" not in value:
        return value if isinstance(value, str) else json.dumps(value)
    return ", ".join([str(value["name"]), *_options(value)])


def _options(value: Mapping[str, Any]) -> Iterator[str]:
    for name, option in value.items():
        if name != "name":
            yield f"{name} {option if isinstance(option, str) else json.dumps(option)}"
