"""Jobs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.common import ListOf, OpenSchema, Schema
from jobs.records import Job
from jobs.spec import JobSpec
from jobs.states import JobState


class JobRecord(OpenSchema):
    """What the job really ran on: settled when a worker started it."""

    arithmetic: str | None = Field(default=None, description="float, simulated, integer or binary.")
    isa: str | None = Field(default=None, description="The kernels in use: reference, portable, avx2, ….")
    threads: int | None = Field(default=None, description="Threads of the training process.")
    device: str | None = Field(default=None, description="cpu or cuda.")
    bits_chosen: dict[str, Any] | None = Field(
        default=None,
        description="With bits `auto`: what was chosen for each layer, and the method with it written as overrides.",
    )
    gradients_exchanged: dict[str, Any] | None = Field(
        default=None,
        description="Of a job in several processes: bytes of gradients that each one has sent since they last started, "
        "and what they would have been at 32 bits.",
    )
    attempt: int | None = Field(default=None, description="Which attempt this is, from 1.")


class JobProgress(OpenSchema):
    """How far the job has come."""

    step: int | None = Field(default=None, description="Optimiser steps done.")
    total_steps: int | None = Field(default=None, description="Steps in all.")
    epoch: float | None = Field(default=None, description="Epochs done, with the fraction of the current one.")
    epochs: int | None = Field(default=None, description="Epochs in all.")
    loss: float | None = Field(default=None, description="Training loss of the last step.")
    validation_accuracy: float | None = Field(default=None, description="Of the last epoch, 0 to 1.")
    images_per_second: float | None = Field(default=None, description="Training images per second.")
    eta_seconds: float | None = Field(default=None, description="Predicted seconds to the end.")


class JobError(OpenSchema):
    """Why the job failed."""

    code: str = Field(description="Stable code of the failure.")
    message: str = Field(description="What happened, and what to do about it.")
    param: str | None = Field(default=None, description="Path of the spec's field that is to blame, if one is.")
    attempts: int | None = Field(default=None, description="How often it was tried.")
    log: list[str] = Field(default_factory=list, description="The last lines of the last attempt.")


class JobObject(Schema):
    """A training job."""

    id: str
    object: Literal["job"] = "job"
    name: str | None
    state: JobState
    spec: JobSpec = Field(description="What was asked for, with every default filled in.")
    record: JobRecord | None
    progress: JobProgress | None
    result: dict[str, Any] | None = Field(description="Final figures of a job that succeeded.")
    error: JobError | None
    labels: dict[str, str] | None = Field(description="What its maker noted: `metadata` of `/openai/v1`.")
    ran_seconds: float = Field(description="Time that all attempts that have ended took together.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> Self:
        """Show a job of the store."""
        return cls.model_validate({name: getattr(job, name) for name in cls.model_fields if hasattr(job, name)})


class JobList(ListOf[JobObject]):
    """One page of jobs, newest first."""
