"""Data sets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.common import ListOf, Schema
from fqt_core.config.builtin import BuiltinDataset
from jobs.records import Dataset, DatasetState


class DatasetObject(Schema):
    """A data set: uploaded, or built in."""

    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    builtin: bool = Field(description="Whether it comes with the service.")
    state: DatasetState = Field(description="`checking` until a worker has looked at every image.")
    format: str | None = Field(description="What the file turned out to be.")
    filename: str | None
    sha256: str | None = Field(description="Digest of the uploaded file; null for built-in data sets.")
    size: int | None = Field(description="Bytes of the uploaded file; null for built-in data sets.")
    profile: dict[str, Any] | None = Field(
        description="What is in it: `classes` (name and count of each), `images`, sizes, channels, mean and deviation."
    )
    error: dict[str, Any] | None = Field(description="What is wrong with it, if it is `invalid`.")
    created_at: datetime | None

    @classmethod
    def of(cls, row: Dataset) -> Self:
        """Show a data set of the store."""
        return cls(
            id=row.id,
            name=row.name,
            builtin=False,
            state=row.state,
            format=row.format,
            filename=row.filename,
            sha256=row.sha256,
            size=row.size,
            profile=row.profile,
            error=row.error,
            created_at=row.created_at,
        )

    @classmethod
    def of_builtin(cls, row: BuiltinDataset) -> Self:
        """Show a built-in data set."""
        return cls(
            id=row.name,
            name=row.title,
            builtin=True,
            state="ready",
            format="builtin",
            filename=None,
            sha256=None,
            size=None,
            profile={
                "format": "builtin",
                "classes": [{"name": name, "count": None} for name in row.classes],
                "images": row.images,
                "sizes": {part: {"width": row.size, "height": row.size} for part in ("min", "median", "max")},
                "channels": row.channels,
                "requirement": row.requirement,
            },
            error=None,
            created_at=None,
        )


class DatasetList(ListOf[DatasetObject]):
    """One page of data sets: uploaded ones newest first, then the built-in ones."""
