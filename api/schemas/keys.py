"""API keys on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.schemas.common import ListOf, Schema
from jobs.keys import LONGEST_NAME, Key, Scope

_QUEUED = (
    "Jobs of the key that may wait at the same time, queued or paused; null: as many as the service's settings say."
)
_RUNNING = "Jobs of the key that may run at the same time; null: as many as the service's settings say."
_STEPS = "Optimiser steps that a job of the key may be planned to take; null: as many as the service's settings say."
_MEMORY = "Memory in bytes that a job of the key may be planned to take; null: as much as the service's settings say."
_EXPIRES = "When it stops opening anything; null: not by itself."
_LARGEST = 2**53 - 1  # the largest that every reader of JSON takes for what it is (RFC 8259, section 6)
_MOST = 2**31 - 1


def _in_the_future(moment: datetime) -> datetime:
    if moment <= datetime.now(UTC):
        raise ValueError("lies in the past; a key ends in the future")
    return moment


def _text(moment: Any) -> Any:
    """Times are written as text only (RFC 3339); a number would be taken for seconds."""
    if not isinstance(moment, str):
        raise ValueError("is written as text: 2027-01-31T12:00:00Z")  # noqa: TRY004 - pydantic's way of saying it
    return moment


def _distinct(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("names a scope twice")
    return scopes


class NewKey(BaseModel):
    """What a new key may do."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=LONGEST_NAME, description="What the key is for.")
    scopes: Annotated[list[Scope], AfterValidator(_distinct)] = Field(
        min_length=1,
        max_length=3,
        json_schema_extra={"uniqueItems": True},
        description="`read`, `write` (includes read), `admin` (includes all).",
    )
    expires_at: (
        Annotated[AwareDatetime, Field(strict=False), BeforeValidator(_text), AfterValidator(_in_the_future)] | None
    ) = Field(default=None, examples=["2099-12-31T23:59:59Z"], description=_EXPIRES)
    max_queued: int | None = Field(default=None, ge=0, le=_MOST, description=_QUEUED)
    max_running: int | None = Field(default=None, ge=1, le=_MOST, description=_RUNNING)
    max_steps: int | None = Field(default=None, ge=1, le=_LARGEST, description=_STEPS)
    max_memory_bytes: int | None = Field(default=None, ge=1, le=_LARGEST, description=_MEMORY)


class KeyObject(Schema):
    """An API key without its secret."""

    id: str
    object: Literal["key"] = "key"
    organisation: str = Field(description="Id of the organisation that it is a key of.")
    name: str
    prefix: str = Field(description="The part of the key that may be shown.")
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None
    expires_at: datetime | None = Field(description=_EXPIRES)
    last_used_at: datetime | None = Field(description="When it was last used, to a minute or so; null: never.")
    rotated_at: datetime | None = Field(description="When its secret was last changed; null: never.")
    previous_expires_at: datetime | None = Field(
        description="Until when the secret of before the last change opens as well; null: it does not."
    )
    max_queued: int | None = Field(description=_QUEUED)
    max_running: int | None = Field(description=_RUNNING)
    max_steps: int | None = Field(description=_STEPS)
    max_memory_bytes: int | None = Field(description=_MEMORY)

    @classmethod
    def of(cls, key: Key) -> Self:
        """Show a key of the store."""
        shown = {name: getattr(key, name) for name in KeyObject.model_fields if hasattr(key, name)}
        return cls.model_validate({**shown, "organisation": key.organisation_id})


class CreatedKey(KeyObject):
    """A new API key."""

    key: str = Field(default="", description="The key itself. It is shown this once and cannot be shown again.")


class KeyList(ListOf[KeyObject]):
    """All keys, newest first."""
