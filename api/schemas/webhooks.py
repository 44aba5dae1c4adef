"""Webhooks on the wire."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.schemas.common import ListOf, Schema
from jobs.deliveries import Delivery, DeliveryState
from jobs.urls import LONGEST_URL
from jobs.webhooks import EVENTS, Webhook, WebhookEvent

_EXAMPLE: dict[str, Any] = {
    "id": "whk_01K9AZ3V6M8T2Q4R6S8T0V2W4X",
    "object": "webhook",
    "url": "https://example.org/hooks/fqt",
    "description": "tells the lab's chat",
    "events": ["job.succeeded", "job.failed"],
    "enabled": True,
    "failures": 0,
    "disabled_at": None,
    "disabled_reason": None,
    "created_at": "2026-01-02T03:04:05Z",
}
_DELIVERY: dict[str, Any] = {
    "id": "msg_01K9AZ4V6M8T2Q4R6S8T0V2W4X",
    "object": "webhook_delivery",
    "webhook": "whk_01K9AZ3V6M8T2Q4R6S8T0V2W4X",
    "type": "job.succeeded",
    "state": "delivered",
    "payload": {"type": "job.succeeded", "timestamp": "2026-01-02T03:04:05.678Z", "data": {"id": "job_…", "seq": 42}},
    "attempts": 1,
    "next_attempt_at": None,
    "log": [{"at": "2026-01-02T03:04:06.123Z", "status": 204, "error": None, "milliseconds": 31}],
    "created_at": "2026-01-02T03:04:05Z",
    "finished_at": "2026-01-02T03:04:06Z",
}


def _distinct(events: list[WebhookEvent]) -> list[WebhookEvent]:
    if len(set(events)) != len(events):
        raise ValueError("names an event twice")
    return events


class NewWebhook(BaseModel):
    """Where to send what."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{name: _EXAMPLE[name] for name in ("url", "description", "events")}]},
    )

    url: str = Field(
        min_length=1,
        max_length=LONGEST_URL,
        json_schema_extra={"format": "uri"},
        description="Where messages are posted to: https, no user name, no fragment, and no address of a private "
        "network unless the service allows it (`FQT_WEBHOOK_PRIVATE`).",
    )
    events: Annotated[list[WebhookEvent], AfterValidator(_distinct)] = Field(
        default_factory=list,
        max_length=len(EVENTS),
        json_schema_extra={"uniqueItems": True},
        description="What to tell of; none: everything, also what later versions add.",
    )
    description: str | None = Field(default=None, min_length=1, max_length=200, description="A note for people.")


class WebhookObject(Schema):
    """Where messages are sent."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EXAMPLE]})

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    description: str | None
    events: list[WebhookEvent] = Field(description="What is told of; none: everything.")
    enabled: bool = Field(description="Whether messages are sent. It ends after many failures in a row.")
    failures: int = Field(description="Failed attempts in a row, of all messages together.")
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: Webhook) -> Self:
        """Show a webhook of the store."""
        return cls(
            id=row.id,
            url=row.url,
            description=row.description,
            events=row.events,
            enabled=row.disabled_at is None,
            failures=row.failures,
            disabled_at=row.disabled_at,
            disabled_reason=row.disabled_reason,
            created_at=row.created_at,
        )


class WebhookWithSecret(WebhookObject):
    """A webhook, and the secret that its messages are signed with."""

    secret: str = Field(default="", description="Shown in this answer and never again: `whsec_…`.")


class WebhookList(ListOf[WebhookObject]):
    """One page of webhooks, newest first."""


class DeliveryAttempt(Schema):
    """One attempt to deliver a message."""

    at: datetime
    status: int | None = Field(description="Status of the receiver's answer; null: there was none.")
    error: str | None = Field(description="Why there was no answer.")
    milliseconds: int


class DeliveryObject(Schema):
    """A message to a webhook, and what became of it."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_DELIVERY]})

    id: str = Field(description="The message's `webhook-id`, the same at each attempt.")
    object: Literal["webhook_delivery"] = "webhook_delivery"
    webhook: str = Field(description="Id of the webhook.")
    type: str = Field(description="What it tells of.")
    state: DeliveryState = Field(
        description="`failed`: the last attempt of the schedule failed, or it was told to stop."
    )
    payload: dict[str, Any] = Field(description="What is posted: `type`, `timestamp` and `data`.")
    attempts: int = Field(description="Attempts so far.")
    next_attempt_at: datetime | None
    log: list[DeliveryAttempt] = Field(description="The newest attempts, the newest last.")
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Delivery) -> Self:
        """Show a delivery of the store."""
        return cls(
            id=row.id,
            webhook=row.webhook_id,
            type=row.type,
            state=row.state,
            payload=json.loads(row.body),
            attempts=row.attempts,
            next_attempt_at=row.next_attempt_at,
            log=[DeliveryAttempt.model_validate(entry) for entry in row.log],
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


class DeliveryList(ListOf[DeliveryObject]):
    """One page of a webhook's deliveries, newest first."""
