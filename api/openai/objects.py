"""Our jobs, events, checkpoints and data sets in the words of OpenAI's API."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import ConfigDict, Field

from api.schemas.artifacts import CheckpointObject
from api.schemas.common import Schema
from api.schemas.datasets import DatasetObject
from api.schemas.jobs import JobError, JobObject
from fqt_core.config import TrainConfig
from jobs.records import JobEvent
from jobs.states import JobState

T = TypeVar("T")
FileStatus = Literal["uploaded", "processed", "error"]
JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
_FILE_STATUS: dict[str, FileStatus] = {"checking": "uploaded", "ready": "processed", "invalid": "error"}
# What is asked for and not yet reached is still running to OpenAI's clients, which wait for the end.
_JOB_STATUS: dict[JobState, JobStatus] = {
    JobState.QUEUED: "queued",
    JobState.RUNNING: "running",
    JobState.PAUSING: "running",
    JobState.CANCELLING: "running",
    JobState.PAUSED: "paused",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
}
_LEVELS: dict[str, Literal["info", "warn", "error"]] = {"warning": "warn", "error": "error"}
_JOB: dict[str, Any] = {
    "id": "job_01K9AZ3V6M8T2Q4R6S8T0V2W4X",
    "object": "fine_tuning.job",
    "model": "resnet18",
    "status": "running",
    "state": "running",
    "training_file": "ds_01K9AZ3V6M8T2Q4R6S8T0V2W4X",
    "created_at": 1767323045,
}


class Page(Schema, Generic[T]):
    """One page of a list, as OpenAI's clients turn them."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False

    @classmethod
    def of(cls, data: list[Any], *, has_more: bool) -> Self:
        """Make a page of objects that have ids."""
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, first_id=first, last_id=last, has_more=has_more)


class File(Schema):
    """An uploaded data set."""

    id: str
    object: Literal["file"] = "file"
    bytes: int = Field(description="Size of the upload; 0: built in.")
    created_at: int = Field(description="Unix time; 0: built in.")
    filename: str
    purpose: Literal["fine-tune"] = "fine-tune"
    status: FileStatus = Field(description="`uploaded` until a worker has looked at every image.")
    status_details: str | None = Field(description="What is wrong with it.")

    @classmethod
    def of(cls, row: DatasetObject) -> Self:
        """Show a data set."""
        return cls(
            id=row.id,
            bytes=row.size or 0,
            created_at=_unix(row.created_at) or 0,
            filename=row.filename or row.name,
            status=_FILE_STATUS[row.state],
            status_details=str((row.error or {}).get("message") or "") or None,
        )


class FilePage(Page[File]):
    """One page of files, newest first."""


class DeletedFile(Schema):
    """What is left of a file."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Model(Schema):
    """A network that can be trained."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "fqt"


class ModelPage(Page[Model]):
    """All networks."""


class FineTuningJob(Schema):
    """A training job as OpenAI's clients see it. `state` is the job's own state."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_JOB]})

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str = Field(description="Name of the architecture.")
    status: JobStatus
    state: JobState
    training_file: str
    validation_file: None = None
    created_at: int
    finished_at: int | None
    estimated_finish: int | None
    fine_tuned_model: str | None = Field(description="The job's own id once it has succeeded; a `model` to go on from.")
    organization_id: str
    result_files: list[str] = Field(description="Always empty: results are at `/v1/jobs/{id}/artifacts`.")
    trained_tokens: None = None
    error: JobError | None
    hyperparameters: dict[str, Any]
    method: dict[str, Any]
    seed: int
    metadata: dict[str, str] | None
    integrations: list[Any] = Field(default_factory=list)
    user_provided_suffix: str | None
    progress: dict[str, Any] | None = Field(description="As of the job itself.")
    result: dict[str, Any] | None = Field(description="As of the job itself.")

    @classmethod
    def of(cls, job: JobObject, organisation: str) -> Self:
        """Show a job."""
        progress = job.progress.model_dump() if job.progress is not None else {}
        status = _JOB_STATUS[job.state]
        if job.state is JobState.RUNNING and progress.get("total_steps") is None:
            status = "validating_files"  # claimed: the worker compares the job's files with their digests, and loads
        eta = progress.get("eta_seconds") if job.state.active else None
        training = job.spec.training.model_dump(mode="json")
        method = job.spec.method.model_dump(mode="json")
        return cls(
            id=job.id,
            model=job.spec.learner,
            status=status,
            state=job.state,
            training_file=job.spec.dataset,
            created_at=int(job.created_at.timestamp()),
            finished_at=_unix(job.finished_at),
            estimated_finish=int(time.time() + eta) if eta is not None else None,
            fine_tuned_model=job.id if job.state is JobState.SUCCEEDED else None,
            organization_id=organisation,
            result_files=[],
            error=job.error,
            hyperparameters={
                **training,
                "n_epochs": training["epochs"],
                "learning_rate_multiplier": training["learning_rate"] / TrainConfig().learning_rate,
            },
            method={"type": method["name"], method["name"]: method},
            seed=training["seed"],
            metadata=job.labels,
            user_provided_suffix=job.name,
            progress=progress or None,
            result=job.result,
        )


class FineTuningJobPage(Page[FineTuningJob]):
    """One page of jobs, newest first."""


class FineTuningEvent(Schema):
    """An entry of a job's log."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any] = Field(description="The event's own data, as in `/v1/jobs/{id}/events`.")

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """Show an event."""
        data = event.data
        level = "warning" if event.type == "warning" else str(data.get("level", "info"))
        if event.type == "state" and data.get("to") == JobState.FAILED.value:
            level = "error"
        return cls(
            id=event_id(event.job_id, event.seq),
            created_at=int(event.created_at.timestamp()),
            level=_LEVELS.get(level, "info"),
            message=_message(event),
            type="metrics" if event.type == "metric" else "message",
            data=data,
        )


class FineTuningEventPage(Page[FineTuningEvent]):
    """One page of events, newest first."""


class CheckpointMetrics(Schema):
    """What is known of a checkpoint."""

    step: int
    validation_accuracy: float | None = Field(description="0 to 1; of the best epoch's checkpoint only.")


class FineTuningCheckpoint(Schema):
    """A checkpoint of a job."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str = Field(description="The job's id and the step.")
    step_number: int
    metrics: CheckpointMetrics

    @classmethod
    def of(cls, job_id: str, row: CheckpointObject) -> Self:
        """Show a checkpoint."""
        accuracy = row.details.get("validation_accuracy")
        return cls(
            id=row.id,
            created_at=int(row.created_at.timestamp()),
            fine_tuning_job_id=job_id,
            fine_tuned_model_checkpoint=f"{job_id}:ckpt-step-{row.step}",
            step_number=row.step,
            metrics=CheckpointMetrics(step=row.step, validation_accuracy=accuracy),
        )


class FineTuningCheckpointPage(Page[FineTuningCheckpoint]):
    """One page of checkpoints, newest first."""


def event_id(job_id: str, seq: int) -> str:
    """Return the id of an event: its job and its place in the log."""
    return f"{job_id}.{seq}"


def _message(event: JobEvent) -> str:
    data = event.data
    if "message" in data:
        return str(data["message"])
    if event.type == "state":
        reason = f" ({data['reason']})" if data.get("reason") else ""
        return f"the job is {data.get('to')}{reason}"
    if event.type == "metric":
        figures = [f"{name} {value:.6g}" for name, value in data.items() if _is_figure(name, value)]
        return f"{data.get('kind')} at step {data.get('step')}" + (": " + ", ".join(figures) if figures else "")
    return f"{event.type} {data.get('name') or 'at step ' + str(data.get('step'))}"


def _is_figure(name: str, value: Any) -> bool:
    return name not in {"step", "kind"} and isinstance(value, int | float) and not isinstance(value, bool)


def _unix(instant: datetime | None) -> int | None:
    return int(instant.timestamp()) if instant is not None else None
