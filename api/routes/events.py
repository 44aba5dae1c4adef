"""A job's event log: page by page, or as a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import structlog
from fastapi import Depends, Header, Query, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from api.auth import ReadKey, still_opens
from api.context import AppContext, Context
from api.problems import FieldError, Invalid, NotFound
from api.routing import problems, router
from api.schemas.common import JobId
from api.schemas.events import EventList, EventObject
from jobs import events
from jobs.records import EVENT_TYPES, EventType, JobEvent

routes = router("events")
log = structlog.get_logger("fqt.api.events")
_BATCH = 200
_RETRY_MILLISECONDS = 1000


@routes.get("/jobs/{job_id}/events", responses=problems(NotFound))
async def list_events(
    job_id: JobId,
    context: AppContext,
    key: ReadKey,
    after: Annotated[int, Query(ge=0, le=2**53, description="`seq` of the last event that is known; 0: none.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Events on one page.")] = 100,
    type_: Annotated[
        list[EventType] | None,
        Query(alias="type", max_length=len(EVENT_TYPES), description="Only events of these types."),
    ] = None,
) -> EventList:
    """List a job's events in order."""

    def read(connection: Connection) -> list[JobEvent]:
        events.last_seq(connection, job_id, organisation=key.organisation_id)
        return events.read(connection, job_id, after=after, limit=limit + 1, types=type_)

    found = await context.read(read)
    return EventList(data=[EventObject.of(event) for event in found[:limit]], has_more=len(found) > limit)


async def _start(
    job_id: JobId,
    context: AppContext,
    key: ReadKey,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            pattern=r"^\d{1,15}$",
            json_schema_extra={"format": "event-seq"},
            description="`id` of the last event that was received: the stream goes on after it.",
        ),
    ] = None,
) -> int:
    """Check what can be checked before the stream begins: from then on there is no status code to set.

    Holds no database connection when it returns.
    """
    mine = key.organisation_id
    last = await context.read(lambda connection: events.last_seq(connection, job_id, organisation=mine))
    after = int(last_event_id or 0)
    if after > last:
        raise Invalid(
            errors=[FieldError(field="Last-Event-ID", message=f"the log ends at {last}", allowed={"maximum": last})]
        )
    return after


@routes.get(
    "/jobs/{job_id}/events/stream",
    response_class=EventSourceResponse,
    responses=problems(NotFound),
)
async def stream_events(
    request: Request, job_id: JobId, context: AppContext, _key: ReadKey, start: Annotated[int, Depends(_start)]
) -> AsyncIterator[ServerSentEvent]:
    """Stream a job's events as server-sent events, those of the past first.

    `id` is the event's `seq`, `event` its type, `data` the event as in the list. After the job's last event comes one
    named `end`, whose data holds the final `state`. A stream that breaks off without it is resumed with
    `Last-Event-ID`. One whose key was revoked or rotated, or has ended, breaks off before anything more is told.
    """
    with context.instruments.streams.track_inprogress(), context.hub.watch(job_id):
        try:
            async for message in _messages(request, context, job_id, start):
                yield message
        except SQLAlchemyError as error:  # the client comes back and finds its place again
            log.warning("event stream broken off", job_id=job_id, error=str(error))


async def _messages(request: Request, context: Context, job_id: str, after: int) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(retry=_RETRY_MILLISECONDS, comment="events of " + job_id)
    while not context.hub.closed:
        batch = await context.read(
            lambda connection, after=after: events.read(connection, job_id, after=after, limit=_BATCH)  # type: ignore[misc]
        )
        if not await still_opens(request):
            return
        for event in batch:
            yield ServerSentEvent(data=EventObject.of(event), event=event.type, id=str(event.seq))
            after = event.seq
        if len(batch) == _BATCH:
            continue
        tip = await context.hub.wait(job_id, after)
        if tip is not None and tip.final and after >= tip.seq:
            if not await still_opens(request):
                return
            state = tip.state.value if tip.state is not None else "deleted"
            yield ServerSentEvent(data={"object": "end", "state": state}, event="end", id=str(after))
            return
