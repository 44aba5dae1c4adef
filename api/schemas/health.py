"""Liveness and readiness on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.schemas.common import Schema


class Health(Schema):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Schema):
    """What the service needs, and whether it is there."""

    status: Literal["ready", "not_ready"]
    database: bool = Field(description="The database answers and its tables are there.")
    broker: bool = Field(description="The broker answers.")
    files: bool = Field(description="The folder or the object store of the stored files can be reached.")
    worker: bool = Field(description="A worker answers. Jobs are accepted without one, and wait.")
