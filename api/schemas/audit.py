"""The audit log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue

from api.schemas.common import ListOf, Schema
from jobs.audit_log import Actor, Entry

_EXAMPLE: dict[str, JsonValue] = {
    "id": "aud_01K9C8M2V4Q6ZJ5R7T9WXYBDFH",
    "object": "audit_entry",
    "organisation": "org_default",
    "actor": "key",
    "key": "key_01K9C7A1B2C3D4E5F6G7H8J9KA",
    "key_prefix": "fqt_3fJq81Lx",
    "action": "cancel_job",
    "method": "POST",
    "resource": "job_01K9C8KZZZ0YX2W4V6T8R0Q1PN",
    "status": 200,
    "request_id": "req_5f0d8a0c",
    "address": "127.0.0.1",
    "created_at": "2026-03-01T12:00:00Z",
}


class AuditEntryObject(Schema):
    """One change, or the attempt at one."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    object: Literal["audit_entry"] = "audit_entry"
    organisation: str = Field(description="Id of the organisation.")
    actor: Actor = Field(
        description="`key`: over HTTP; `admin command`: an `fqt admin` command on a machine of the service; `service`: "
        "the service itself, which says that entries were lost."
    )
    key: str | None = Field(description="Id of the key that asked.")
    key_prefix: str | None = Field(description="The part of that key that may be shown.")
    action: str = Field(description="Id of the operation in this document, or the command; `unknown`: no operation.")
    method: str | None = Field(description="HTTP method.")
    resource: str | None = Field(description="Id of what was changed or made.")
    status: int | None = Field(description="HTTP status of the answer.")
    request_id: str | None = Field(description="As in the `X-Request-ID` header and the log.")
    address: str | None = Field(description="Where the request came from.")
    created_at: datetime

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Show an entry of the store."""
        return cls(
            id=entry.id,
            organisation=entry.organisation_id,
            actor=entry.actor,
            key=entry.key_id,
            key_prefix=entry.key_prefix,
            action=entry.action,
            method=entry.method,
            resource=entry.resource_id,
            status=entry.status,
            request_id=entry.request_id,
            address=entry.address,
            created_at=entry.created_at,
        )


class AuditList(ListOf[AuditEntryObject]):
    """One page of the audit log, newest first."""
