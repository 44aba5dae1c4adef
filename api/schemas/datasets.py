"""Data sets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field

from api.schemas.common import ListOf, OpenSchema, Schema
from fqt_core.config.builtin import BuiltinDataset
from jobs.records import Dataset, DatasetState


class Size(Schema):
    """Size of an image in pixels."""

    width: int
    height: int


class CommonSize(Size):
    """A size that many images have."""

    count: int = Field(description="How many images have it.")


class Sizes(Schema):
    """The range of image sizes, width and height each by itself."""

    min: Size
    median: Size
    max: Size


class ClassCount(Schema):
    """A class and its images."""

    name: str
    count: int | None = Field(description="Images for training; null where it is not known.")
    validation_count: int | None = Field(default=None, description="Images of the data set's own validation part.")


class DatasetFault(Schema):
    """What keeps the data set from being used, and where."""

    where: str = Field(description="The file, or `(file)` for the data set as a whole.")
    message: str
    remedy: str


class LabelConflict(Schema):
    """Two images with the same pixels in different classes: one of the labels is wrong."""

    images: list[str]
    classes: list[str]


class ThumbnailLayout(Schema):
    """Where each class is on the sheet of thumbnails: row `i` is class `i`."""

    rows: int = Field(description="Classes that are shown, from the first on; at most 100.")
    columns: int = Field(description="Images of each class at most.")
    side: int = Field(description="Side of a thumbnail's square in pixels.")


class Profile(OpenSchema):
    """What a worker found in a data set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "format": "folders",
                    "classes": [
                        {"name": "cats", "count": 212, "validation_count": 40},
                        {"name": "dogs", "count": 190, "validation_count": 40},
                    ],
                    "images": 402,
                    "validation_images": 80,
                    "sizes": {
                        "min": {"width": 180, "height": 160},
                        "median": {"width": 500, "height": 375},
                        "max": {"width": 640, "height": 640},
                    },
                    "common_sizes": [{"width": 500, "height": 375, "count": 240}],
                    "channels": 3,
                    "mean": [0.488, 0.455, 0.417],
                    "std": [0.26, 0.253, 0.256],
                    "imbalance": 1.116,
                    "duplicates": 3,
                    "mislabelled": 1,
                    "leaked": 0,
                    "conflicts": [{"images": ["cats/17.png", "dogs/3.png"], "classes": ["cats", "dogs"]}],
                    "thumbnails": {"rows": 2, "columns": 8, "side": 48},
                    "warnings": ["3 image(s) occur more than once"],
                    "faults": [],
                    "complete": True,
                }
            ]
        }
    )

    format: str | None = None
    classes: list[ClassCount] = Field(default=[], description="In label order.")
    images: int | None = Field(default=None, description="Images for training.")
    validation_images: int | None = Field(default=None, description="Images of the data set's own validation part.")
    sizes: Sizes | None = None
    common_sizes: list[CommonSize] | None = Field(default=None, description="At most five, the most frequent first.")
    channels: int | None = Field(default=None, description="1 if every image is grey, else 3.")
    mean: list[float] | None = Field(default=None, description="Of each channel over all training pixels, 0 to 1.")
    std: list[float] | None = Field(default=None, description="Standard deviation of the same.")
    imbalance: float | None = Field(default=None, description="Images of the largest class to those of the smallest.")
    duplicates: int | None = Field(default=None, description="Images whose pixels occurred before.")
    mislabelled: int | None = Field(default=None, description="Those of them that occurred in another class.")
    leaked: int | None = Field(default=None, description="Those that are in the training and in the validation part.")
    conflicts: list[LabelConflict] | None = Field(default=None, description="At most ten of the mislabelled ones.")
    thumbnails: ThumbnailLayout | None = Field(
        default=None, description="Layout of `GET /v1/datasets/{id}/thumbnails`; null where there are none."
    )
    warnings: list[str] = Field(default=[], description="What should be known before training on it.")
    faults: list[DatasetFault] = Field(default=[], description="At most 20; empty: it can be trained on.")
    complete: bool = Field(default=True, description="False: reading stopped at the 20th fault.")


class DatasetObject(Schema):
    """A data set: uploaded, or built in."""

    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    builtin: bool = Field(description="Whether it comes with the service.")
    state: DatasetState = Field(description="`checking` until a worker has looked at every image.")
    format: str | None = Field(description="What the file turned out to be.")
    filename: str | None
    same_as: str | None = Field(
        default=None,
        description="The first data set of your organisation with the very same bytes, which are stored once; null: "
        "this is the first.",
    )
    sha256: str | None = Field(description="Digest of the uploaded file; null for built-in data sets.")
    size: int | None = Field(description="Bytes of the uploaded file; null for built-in data sets.")
    profile: Profile | None = Field(description="What is in it; null until a worker has looked.")
    error: dict[str, Any] | None = Field(description="What is wrong with it, if it is `invalid`.")
    created_at: datetime | None

    @classmethod
    def of(cls, row: Dataset, same_as: str | None = None) -> Self:
        """Show a data set of the store."""
        return cls(
            id=row.id,
            name=row.name,
            builtin=False,
            state=row.state,
            format=row.format,
            filename=row.filename,
            same_as=same_as,
            sha256=row.sha256,
            size=row.size,
            profile=None if row.profile is None else Profile.model_validate(row.profile),
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
            profile=Profile.model_validate(
                {
                    "format": "builtin",
                    "classes": [{"name": name, "count": None} for name in row.classes],
                    "images": row.images,
                    "sizes": {part: {"width": row.size, "height": row.size} for part in ("min", "median", "max")},
                    "channels": row.channels,
                    "requirement": row.requirement,
                }
            ),
            error=None,
            created_at=None,
        )


class DatasetList(ListOf[DatasetObject]):
    """One page of data sets: uploaded ones newest first, then the built-in ones."""
