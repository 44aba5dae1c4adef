"""A browser's session on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Schema
from jobs.keys import Scope


class NewSession(BaseModel):
    """The key to open a session with."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [{"key": "fqt_…"}]})

    key: str = Field(min_length=1, max_length=200, description="An API key of this service.")


class SessionObject(Schema):
    """A browser's session, or that there is none."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "object": "session",
                    "active": True,
                    "key_id": "key_01J9ZQ6Y3N8V5W2X7T4R1M0K8C",
                    "key_name": "laptop",
                    "scopes": ["read", "write"],
                    "csrf_token": "9f2c…",
                    "expires_at": "2026-12-12T10:00:00Z",
                }
            ]
        },
    )

    object: Literal["session"] = "session"
    active: bool = Field(default=False, description="Whether there is one; without, all that follows is null.")
    key_id: str | None = Field(default=None, description="The key that the session stands for.")
    key_name: str | None = Field(default=None, description="What that key is for.")
    scopes: list[Scope] | None = Field(default=None, description="What that key may do.")
    csrf_token: str | None = Field(
        default=None,
        description="To be sent as `X-CSRF-Token` with every request of the session that changes something.",
    )
    expires_at: datetime | None = Field(default=None, description="When the key must be entered again.")
