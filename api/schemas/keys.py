"""API keys on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.common import ListOf, Schema
from jobs.keys import LONGEST_NAME, Key, Scope

_QUEUED = (
    "Jobs of the key that may wait at the same time, queued or paused; null: as many as the service's settings say."
)
_RUNNING = "Jobs of the key that may run at the same time; null: as many as the service's settings say."


def _distinct(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) != len(scopes):
        raise ValueError("names a scope twice")
    return scopes


class NewKey(BaseModel):
    """What a new key may do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=LONGEST_NAME, description="What the key is for.")
    scopes: Annotated[list[Scope], AfterValidator(_distinct)] = Field(
        min_length=1,
        max_length=3,
        json_schema_extra={"uniqueItems": True},
        description="`read`, `write` (includes read), `admin` (includes all).",
    )
    max_queued: int | None = Field(default=None, ge=0, description=_QUEUED)
    max_running: int | None = Field(default=None, ge=1, description=_RUNNING)


class KeyObject(Schema):
    """An API key without its secret."""

    id: str
    object: Literal["key"] = "key"
    name: str
    prefix: str = Field(description="The part of the key that may be shown.")
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None
    max_queued: int | None = Field(description=_QUEUED)
    max_running: int | None = Field(description=_RUNNING)

    @classmethod
    def of(cls, key: Key) -> Self:
        """Show a key of the store."""
        return cls(
            id=key.id,
            name=key.name,
            prefix=key.prefix,
            scopes=key.scopes,
            created_at=key.created_at,
            revoked_at=key.revoked_at,
            max_queued=key.max_queued,
            max_running=key.max_running,
        )


class CreatedKey(KeyObject):
    """A new API key."""

    key: str = Field(default="", description="The key itself. It is shown this once and cannot be shown again.")


class KeyList(ListOf[KeyObject]):
    """All keys, newest first."""
