"""Data sets on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import ListOf, OpenSchema, Schema
from fqt_core.config.builtin import BuiltinDataset
from jobs.imports import LONGEST_NAME
from jobs.records import Dataset, DatasetState
from jobs.urls import LONGEST_URL


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

    where: str = Field(description="The file; empty: the data set as a whole.")
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


class ValueCount(Schema):
    """A value of a column, and the rows that have it."""

    value: str
    count: int


class ColumnProfile(OpenSchema):
    """A column of a table."""

    name: str
    kind: Literal["number", "boolean", "category", "skipped"] = Field(
        description="What its values are; `skipped`: it cannot be learned from."
    )
    missing: int | None = Field(default=None, description="Rows without a value.")
    distinct: int | None = Field(default=None, description="Different values.")
    whole: bool | None = Field(default=None, description="Whether all of them are whole numbers.")
    values: list[ValueCount] | None = Field(
        default=None,
        description="Of columns with at most 100 different values (20 in tables of more than 200 columns).",
    )
    min: float | None = None
    max: float | None = None
    mean: float | None = None
    reason: str | None = Field(default=None, description="Why it is skipped.")


class TableProfile(Schema):
    """What a worker found in a table."""

    rows: int
    columns: list[ColumnProfile]


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
    table: TableProfile | None = Field(
        default=None, description="Rows and columns of a CSV or Parquet file; null: the data set holds images."
    )
    classes: list[ClassCount] = Field(
        default=[], description="In label order; a table has none before a job names one."
    )
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


class DatasetOrigin(Schema):
    """Where a data set came from."""

    kind: Literal["upload", "url", "folder", "builtin"]
    url: str | None = Field(default=None, description="Where it was downloaded from, without the query.")
    folder: str | None = Field(default=None, description="Name of the mounted folder that it is.")

    @classmethod
    def of(cls, row: Dataset) -> Self:
        """Show where a data set of the store came from."""
        source = row.source or {"kind": "upload"}
        return cls(kind=source["kind"], url=source.get("shown"), folder=source.get("folder"))


class UrlImport(BaseModel):
    """A data set to download."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"url": "https://example.org/sets/pets.zip", "name": "pets"}]},
    )

    url: str = Field(
        min_length=1,
        max_length=LONGEST_URL,
        json_schema_extra={"format": "uri"},
        description="An http or https URL of the file itself: no redirect is followed.",
    )
    name: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_NAME, description="A name for people; null: the file's own."
    )
    sha256: str | None = Field(
        default=None, pattern="^[0-9a-f]{64}$", description="SHA-256 (hex) that the file must have; null: any."
    )


class FolderImport(BaseModel):
    """A mounted folder to make a data set of."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"folder": "photos", "name": "photos, May"}]}
    )

    folder: str = Field(min_length=1, max_length=40, description="Its name, as `GET /v1/dataset-folders` shows it.")
    name: str | None = Field(
        default=None, min_length=1, max_length=LONGEST_NAME, description="A name for people; null: the folder's."
    )


class FolderObject(Schema):
    """A folder that whoever runs the service has mounted for data sets to be made of."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"object": "dataset_folder", "name": "photos", "dataset": "ds_01M87YP1ESYFM4N7235VH39XS8"}]
        }
    )

    object: Literal["dataset_folder"] = "dataset_folder"
    name: str
    dataset: str | None = Field(description="The newest data set that your organisation made of it; null: none.")


class FolderList(ListOf[FolderObject]):
    """One page of folders, by name."""


class DatasetObject(Schema):
    """A data set: uploaded, downloaded, mounted, or built in."""

    id: str
    object: Literal["dataset"] = "dataset"
    name: str
    builtin: bool = Field(description="Whether it comes with the service.")
    origin: DatasetOrigin
    state: DatasetState = Field(description="`checking` until a worker has looked at every image.")
    format: str | None = Field(description="What the file turned out to be.")
    filename: str | None
    same_as: str | None = Field(
        default=None,
        description="The first data set of your organisation with the very same bytes, which are stored once; null: "
        "this is the first.",
    )
    sha256: str | None = Field(
        description="Digest of its file, or of a folder's listing; null before a worker has it, and if it is built in."
    )
    size: int | None = Field(description="Bytes of its file, or of a folder's files; null as of `sha256`.")
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
            origin=DatasetOrigin.of(row),
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
            origin=DatasetOrigin(kind="builtin"),
            state="ready",
            format="builtin",
            filename=None,
            sha256=None,
            size=None,
            profile=Profile.model_validate(row.profile() | {"requirement": row.requirement}),
            error=None,
            created_at=None,
        )


class DatasetList(ListOf[DatasetObject]):
    """One page of data sets: uploaded ones newest first, then the built-in ones."""
