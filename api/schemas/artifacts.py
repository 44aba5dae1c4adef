"""Result files and checkpoints on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.common import ListOf, Schema
from jobs.records import Artifact, Checkpoint


class ArtifactObject(Schema):
    """A result file of a job."""

    id: str
    object: Literal["artifact"] = "artifact"
    name: str = Field(description="Unique within the job; the last part of its download path.")
    kind: str = Field(
        description="`model` (packed, one bit per weight), `weights` (full precision), `report`, `card`, or `examples` "
        "(a picture: validation images of each cell of the confusion matrix)."
    )
    sha256: str
    size: int = Field(description="Bytes.")
    details: dict[str, Any]
    created_at: datetime

    @classmethod
    def of(cls, row: Artifact) -> Self:
        """Show an artifact of the store."""
        return cls(
            id=row.id,
            name=row.name,
            kind=row.kind,
            sha256=row.sha256,
            size=row.size,
            details=row.details,
            created_at=row.created_at,
        )


class ArtifactList(ListOf[ArtifactObject]):
    """A job's result files."""


class CheckpointObject(Schema):
    """A checkpoint that a job can be resumed from, bit for bit."""

    id: str
    object: Literal["checkpoint"] = "checkpoint"
    step: int = Field(description="Optimiser steps done when it was written.")
    attempt: int = Field(description="The attempt that wrote it.")
    sha256: str
    size: int = Field(description="Bytes.")
    details: dict[str, Any] = Field(
        description="`training_epoch`; for the best epoch so far also `best` and `validation_accuracy`."
    )
    created_at: datetime

    @classmethod
    def of(cls, row: Checkpoint) -> Self:
        """Show a checkpoint of the store."""
        return cls(
            id=row.id,
            step=row.step,
            attempt=row.epoch,
            sha256=row.sha256,
            size=row.size,
            details=row.details,
            created_at=row.created_at,
        )


class CheckpointList(ListOf[CheckpointObject]):
    """The checkpoints that are kept of a job."""
