"""Parts that every resource's schemas share: lists, ids, cursors and bounds."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.problems import NotFound

T = TypeVar("T")
ULID = "[0-9A-Za-z]{26}"


class Schema(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True)


class OpenSchema(BaseModel):
    """Base of parts that a worker fills and may fill with more than is listed here."""

    model_config = ConfigDict(frozen=True, extra="allow")


class ListOf(Schema, Generic[T]):
    """One page of a list. ``has_more``: ask again with ``after`` set to the last entry's id (or ``seq``)."""

    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = Field(default=False, description="Whether there are entries after the last one.")


def _id(kind: str, pattern: str) -> Callable[[str], str]:
    """An id that cannot be one is the id of nothing: 404, like any other that is not there."""
    shape = re.compile(pattern)

    def check(value: str) -> str:
        if not shape.fullmatch(value):
            raise NotFound(f"There is no {kind} {value[:100]!r}.")
        return value

    return check


JobId = Annotated[str, Path(description="Id of the job: `job_…`."), AfterValidator(_id("job", f"job_{ULID}"))]
KeyId = Annotated[str, Path(description="Id of the key: `key_…`."), AfterValidator(_id("key", f"key_{ULID}"))]
ModelId = Annotated[str, Path(description="Id of the model: `mdl_…`."), AfterValidator(_id("model", f"mdl_{ULID}"))]
SweepId = Annotated[str, Path(description="Id of the sweep: `swp_…`."), AfterValidator(_id("sweep", f"swp_{ULID}"))]
DatasetId = Annotated[
    str,
    Path(description="Id of an uploaded data set (`ds_…`) or of a built-in one (`digits`)."),
    AfterValidator(_id("data set", f"ds_{ULID}|[a-z][a-z0-9-]{{0,39}}")),
]
WebhookId = Annotated[
    str, Path(description="Id of the webhook: `whk_…`."), AfterValidator(_id("webhook", f"whk_{ULID}"))
]
DeliveryId = Annotated[
    str, Path(description="Id of the delivery: `msg_…`."), AfterValidator(_id("delivery", f"msg_{ULID}"))
]
LayerName = Annotated[
    str, Path(description="Name of the layer: `layer1.0.conv1`."), AfterValidator(_id("layer", r"[A-Za-z0-9_.]{1,200}"))
]
ArtifactName = Annotated[
    str, Path(description="Name of the file."), AfterValidator(_id("artifact", r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"))
]
Limit = Annotated[int, Query(ge=1, le=100, description="Entries on one page.")]
