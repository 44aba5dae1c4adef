"""API keys. Only a key with the scope ``admin`` may look at keys or change them, and only at its organisation's."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from api.auth import AdminKey
from api.context import AppContext
from api.problems import Conflict, Malformed, NotFound, TooLarge, UnsupportedMediaType
from api.routing import problems, router
from api.schemas.common import KeyId
from api.schemas.keys import CreatedKey, KeyList, KeyObject, NewKey
from jobs import keys
from jobs.ceilings import lesser

routes = router("keys")


@routes.post("/keys", status_code=201, responses=problems(Malformed, TooLarge, UnsupportedMediaType))
async def create_key(new: NewKey, context: AppContext, key: AdminKey, response: Response) -> CreatedKey:
    """Create an API key. The answer is the only place where the key itself is ever shown.

    Its ceilings are not above those of the key that makes it.
    """
    made, plain = await context.write(
        lambda connection: keys.create(
            connection,
            context.store.key_secret,
            name=new.name,
            scopes=new.scopes,
            organisation=key.organisation_id,
            expires_at=new.expires_at,
            max_queued=new.max_queued,
            max_running=new.max_running,
            max_steps=lesser(new.max_steps, key.max_steps),
            max_memory_bytes=lesser(new.max_memory_bytes, key.max_memory_bytes),
        )
    )
    response.headers["Location"] = f"/v1/keys/{made.id}"
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey.of(made).model_copy(update={"key": plain})


@routes.get("/keys", responses=problems())
async def list_keys(context: AppContext, key: AdminKey) -> KeyList:
    """List all keys of the organisation, revoked ones included, newest first."""
    mine = key.organisation_id
    listed = await context.read(lambda connection: keys.list_keys(connection, organisation=mine))
    return KeyList(data=[KeyObject.of(row) for row in listed])


@routes.post("/keys/{key_id}/rotate", responses=problems(NotFound, Conflict))
async def rotate_key(
    key_id: KeyId,
    context: AppContext,
    key: AdminKey,
    response: Response,
    overlap_seconds: Annotated[
        int,
        Query(
            ge=0,
            le=keys.LONGEST_OVERLAP_SECONDS,
            description="How long the secret of before opens as well, so that programs can change over one by one.",
        ),
    ] = 0,
) -> CreatedKey:
    """Give a key a new secret. The answer is the only place where it is ever shown.

    The key keeps its id, its prefix and what it may do; its jobs stay its own.
    """
    mine = key.organisation_id
    changed, plain = await context.write(
        lambda connection: keys.rotate(
            connection, context.store.key_secret, key_id, overlap_seconds=overlap_seconds, organisation=mine
        )
    )
    context.keys.forget()
    response.headers["Cache-Control"] = "no-store"
    return CreatedKey.of(changed).model_copy(update={"key": plain})


@routes.delete("/keys/{key_id}", responses=problems(NotFound, Conflict))
async def revoke_key(key_id: KeyId, context: AppContext, key: AdminKey) -> KeyObject:
    """Revoke a key: it is refused from now on. A key cannot revoke itself, so that nobody locks themselves out."""
    if key_id == key.id:
        raise Conflict("A key cannot revoke itself; use another key with the scope 'admin'.")
    mine = key.organisation_id
    revoked = await context.write(lambda connection: keys.revoke(connection, key_id, organisation=mine))
    context.keys.forget()
    return KeyObject.of(revoked)
