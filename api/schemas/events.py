"""A job's event log on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field

from api.schemas.common import ListOf, Schema
from jobs.records import EventType, JobEvent


class EventObject(Schema):
    """One entry of a job's log."""

    object: Literal["event"] = "event"
    seq: int = Field(description="Counts from 1 without gaps.")
    type: EventType
    attempt: int = Field(description="The attempt that wrote it; 0 before the first one.")
    data: dict[str, Any] = Field(description="What happened; its fields depend on the type.")
    created_at: datetime

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        """Show an event of the store."""
        return cls(seq=event.seq, type=event.type, attempt=event.epoch, data=event.data, created_at=event.created_at)


class EventList(ListOf[EventObject]):
    """Events in order."""
