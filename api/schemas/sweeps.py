"""Sweeps on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import ListOf, OpenSchema, Schema
from jobs import sweeps
from jobs.records import Sweep, SweepState, Trial, TrialState
from jobs.states import JobState
from jobs.sweep_spec import SweepSpec

EXAMPLE: dict[str, Any] = {
    "name": "learning rates for digits",
    "base": {
        "dataset": "digits",
        "architecture": {"name": "resnet18", "width": 0.25, "image_size": 16, "channels": 1},
        "training": {"epochs": 10, "batch_size": 64},
    },
    "space": {
        "training.learning_rate": {"type": "log_uniform", "low": 0.0003, "high": 0.03},
        "method.bits": {"type": "choice", "values": [2, 4, 8]},
    },
    "algorithm": "tpe",
    "max_jobs": 20,
    "parallel": 2,
    "pruning": {"name": "median"},
}


_TRIAL: dict[str, Any] = {
    "number": 0,
    "job": "job_01JD0000000000000000000001",
    "job_state": "succeeded",
    "state": "succeeded",
    "parameters": {"training.learning_rate": 0.003, "method.bits": 4},
    "value": 0.91,
    "epochs": {"1": 0.72, "2": 0.91},
    "reason": None,
    "created_at": "2026-01-02T03:04:05Z",
    "finished_at": "2026-01-02T03:05:05Z",
}
_SHOWN: dict[str, Any] = {
    "id": "swp_01JD0000000000000000000001",
    "object": "sweep",
    "name": "learning rates for digits",
    "state": "running",
    "spec": EXAMPLE,
    "direction": "maximize",
    "jobs": 20,
    "counts": {"running": 0, "succeeded": 1, "pruned": 0, "cancelled": 0, "failed": 0},
    "best": _TRIAL,
    "reason": None,
    "created_at": "2026-01-02T03:04:05Z",
    "finished_at": None,
}


class SweepReason(OpenSchema):
    """Why a sweep ended."""

    code: str = Field(description="requested, no_result, invalid_spec or key_revoked.")
    message: str


class TrialObject(Schema):
    """One point of a sweep and what became of its job."""

    number: int = Field(description="From 0, in the order of their making.")
    job: str | None = Field(description="Id of its job; null if none could be made, or if it was deleted.")
    job_state: JobState | None
    state: TrialState = Field(description="`pruned`: its job was cancelled, for it had no prospect.")
    parameters: dict[str, Any] = Field(description="Dotted name to value.")
    value: float | None = Field(description="The metric's best value over the epochs, once the job has succeeded.")
    epochs: dict[str, float] = Field(description="Epoch to the metric's value, as far as the sweep has looked.")
    reason: str | None = Field(description="Why it did not succeed.")
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """Show a trial of the store."""
        return cls(
            number=trial.number,
            job=trial.job_id,
            job_state=None if trial.job_state is None else JobState(trial.job_state),
            state=trial.state,
            parameters=trial.parameters,
            value=trial.value,
            epochs=trial.reported,
            reason=trial.reason,
            created_at=trial.created_at,
            finished_at=trial.finished_at,
        )


class TrialCounts(Schema):
    """How many trials are in each state."""

    running: int
    succeeded: int
    pruned: int
    cancelled: int
    failed: int


class SweepObject(Schema):
    """A search over fields of a job spec."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_SHOWN]})

    id: str
    object: Literal["sweep"] = "sweep"
    name: str | None
    state: SweepState
    spec: SweepSpec = Field(description="What was asked for, with every default filled in.")
    direction: Literal["maximize", "minimize"] = Field(description="Which values of the metric are better.")
    jobs: int = Field(description="How many jobs there will be.")
    counts: TrialCounts
    best: TrialObject | None = Field(description="The best of the trials that have succeeded so far.")
    reason: SweepReason | None = Field(description="Why it was cancelled, or has failed.")
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, sweep: Sweep, found: Sequence[Trial], **more: Any) -> Self:
        """Show a sweep of the store, told by its trials."""
        best = sweeps.best(sweep.spec, found)
        return cls(
            id=sweep.id,
            name=sweep.name,
            state=sweep.state,
            spec=sweep.spec,
            direction="maximize" if sweep.spec.maximizes else "minimize",
            jobs=sweep.spec.jobs,
            counts=TrialCounts(**sweeps.count_by_state(found)),
            best=None if best is None else TrialObject.of(best),
            reason=None if sweep.reason is None else SweepReason.model_validate(sweep.reason),
            created_at=sweep.created_at,
            finished_at=sweep.finished_at,
            **more,
        )


class SweepDetail(SweepObject):
    """A sweep with the table of its trials."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_SHOWN | {"trials": [_TRIAL]}]})

    trials: list[TrialObject] = Field(description="By number.")

    @classmethod
    def whole(cls, sweep: Sweep, found: Sequence[Trial]) -> Self:
        """Show a sweep with its trials."""
        return cls.of(sweep, found, trials=[TrialObject.of(trial) for trial in found])


class SweepList(ListOf[SweepObject]):
    """One page of sweeps, newest first."""


class SweepPlanObject(Schema):
    """The answer to a dry run: the sweep is valid, and this is what it would take."""

    object: Literal["sweep_plan"] = "sweep_plan"
    spec: SweepSpec = Field(description="What was asked for, with every default filled in.")
    jobs: int = Field(description="How many jobs there will be, those that are pruned included.")
    checked: int = Field(description="Job specs that were built from extreme values and found valid.")
    seconds_per_job: list[float] | None = Field(
        description="Least and greatest predicted time of a job, of a few at extreme values; null without like jobs "
        "that ran here."
    )
    seconds: float | None = Field(
        description="Predicted time of all jobs one after another, by the mean of those; pruning takes less."
    )
    seconds_reason: str | None = Field(description="Why there is no prediction.")
