"""The audit log: who changed what. Only a key with the scope ``admin`` may read it, and only its organisation's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from api.auth import AdminKey
from api.context import AppContext
from api.routing import problems, router
from api.schemas.audit import AuditEntryObject, AuditList
from api.schemas.common import ULID, Limit
from jobs import audit_log

routes = router("audit")


@routes.get("/audit", responses=problems())
async def list_audit_entries(
    context: AppContext,
    key: AdminKey,
    action: Annotated[str | None, Query(max_length=100, description="Only this operation, e.g. `cancel_job`.")] = None,
    by: Annotated[
        str | None, Query(alias="key", pattern=f"^key_{ULID}$", description="Only what this key asked for.")
    ] = None,
    resource: Annotated[str | None, Query(max_length=200, description="Only what was done to this id.")] = None,
    after: Annotated[
        str | None, Query(pattern=f"^aud_{ULID}$", description="Id of the last entry of the page before.")
    ] = None,
    limit: Limit = 20,
) -> AuditList:
    """List the organisation's changes, newest first: every POST, PUT, PATCH and DELETE with a valid key, and commands.

    Refused ones are there too, with their status. An entry appears within a second of its answer.
    """
    mine = key.organisation_id
    page = await context.read(
        lambda connection: audit_log.list_entries(
            connection, organisation=mine, after=after, limit=limit, action=action, key=by, resource=resource
        )
    )
    return AuditList(data=[AuditEntryObject.of(entry) for entry in page.data], has_more=page.has_more)
