"""Webhooks: where to send news of jobs and data sets, what was sent, and sending it again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from sqlalchemy import Connection

from api.auth import ReadKey, WriteKey
from api.context import AppContext
from api.problems import (
    Conflict,
    IdempotencyMismatch,
    Malformed,
    NotFound,
    TooLarge,
    TooManyWebhooks,
    UnsupportedMediaType,
    UrlRefused,
    WebhookDisabled,
)
from api.routes.jobs import IdempotencyKey
from api.routing import created, problems, router
from api.schemas.common import ULID, DeliveryId, Limit, WebhookId
from api.schemas.webhooks import (
    DeliveryList,
    DeliveryObject,
    NewWebhook,
    WebhookList,
    WebhookObject,
    WebhookWithSecret,
)
from api.targets import target
from jobs import deliveries, webhooks
from jobs.deliveries import DeliveryState
from jobs.errors import NotFoundError
from jobs.webhooks import Webhook

routes = router("webhooks")


@routes.post(
    "/webhooks",
    status_code=201,
    response_model=WebhookWithSecret,
    responses=problems(
        UrlRefused, TooManyWebhooks, IdempotencyMismatch, Malformed, TooLarge, UnsupportedMediaType, Conflict
    ),
)
async def create_webhook(
    new: NewWebhook, context: AppContext, key: WriteKey, idempotency_key: IdempotencyKey = None
) -> Response:
    """Have messages sent to a URL. The answer is the only place where the secret that signs them is shown.

    Messages follow the Standard Webhooks scheme: `webhook-id`, `webhook-timestamp` and `webhook-signature` are headers,
    and its libraries verify them. An answer of 2xx within 15 seconds takes a message; otherwise it is sent again, up to
    ten times in three days. A message may come twice, under the same `webhook-id`.
    """
    private = context.settings.webhook_private
    target(new.url, private=private, plain=private)

    def create(connection: Connection) -> tuple[int, Any]:
        made = webhooks.create(
            connection,
            organisation=key.organisation_id,
            url=new.url,
            events=new.events,
            description=new.description,
            created_by=key.id,
        )
        return 201, {"id": made.id}  # what is remembered for a repetition holds no secret

    answer = await context.once(
        create,
        key_id=key.id,
        route="POST /v1/webhooks",
        idempotency_key=idempotency_key,
        request=new.model_dump_json().encode(),
    )
    webhook_id = answer.body["id"]
    try:
        row = await context.read(
            lambda connection: webhooks.get(connection, webhook_id, organisation=key.organisation_id)
        )
    except NotFoundError:
        raise Conflict("This Idempotency-Key made a webhook that was deleted since; use a new key.") from None
    return created(answer, "/v1/webhooks", _with_secret(context, row).model_dump(mode="json"))


@routes.get("/webhooks", responses=problems())
async def list_webhooks(
    context: AppContext,
    key: ReadKey,
    after: Annotated[
        str | None, Query(pattern=f"^whk_{ULID}$", description="Id of the last webhook of the page before.")
    ] = None,
    limit: Limit = 20,
) -> WebhookList:
    """List webhooks, newest first."""
    page = await context.read(
        lambda connection: webhooks.list_webhooks(
            connection, organisation=key.organisation_id, after=after, limit=limit
        )
    )
    return WebhookList(data=[WebhookObject.of(row) for row in page.data], has_more=page.has_more)


@routes.get("/webhooks/{webhook_id}", responses=problems(NotFound))
async def get_webhook(webhook_id: WebhookId, context: AppContext, key: ReadKey) -> WebhookObject:
    """Get a webhook."""
    organisation = key.organisation_id
    return WebhookObject.of(
        await context.read(lambda connection: webhooks.get(connection, webhook_id, organisation=organisation))
    )


@routes.delete("/webhooks/{webhook_id}", status_code=204, responses=problems(NotFound))
async def delete_webhook(webhook_id: WebhookId, context: AppContext, key: WriteKey) -> None:
    """Delete a webhook, with what still waits to be sent to it and its log."""
    organisation = key.organisation_id
    await context.write(lambda connection: webhooks.remove(connection, webhook_id, organisation=organisation))


@routes.post("/webhooks/{webhook_id}/rotate", responses=problems(NotFound))
async def rotate_webhook_secret(webhook_id: WebhookId, context: AppContext, key: WriteKey) -> WebhookWithSecret:
    """Give a webhook a new secret, shown in this answer only. For a day the old one signs as well."""
    organisation = key.organisation_id
    row = await context.write(lambda connection: webhooks.rotate(connection, webhook_id, organisation=organisation))
    return _with_secret(context, row)


@routes.post("/webhooks/{webhook_id}/enable", responses=problems(NotFound))
async def enable_webhook(webhook_id: WebhookId, context: AppContext, key: WriteKey) -> WebhookObject:
    """Send to a webhook again that was disabled after many failures, also what has waited since."""
    organisation = key.organisation_id
    return WebhookObject.of(
        await context.write(lambda connection: webhooks.enable(connection, webhook_id, organisation=organisation))
    )


@routes.post("/webhooks/{webhook_id}/test", status_code=202, responses=problems(NotFound, WebhookDisabled))
async def send_test_message(webhook_id: WebhookId, context: AppContext, key: WriteKey) -> DeliveryObject:
    """Send a message of the type `webhook.test`; the deliveries tell what became of it."""
    organisation = key.organisation_id
    return DeliveryObject.of(
        await context.write(lambda connection: deliveries.test(connection, webhook_id, organisation=organisation))
    )


@routes.get("/webhooks/{webhook_id}/deliveries", responses=problems(NotFound))
async def list_deliveries(
    webhook_id: WebhookId,
    context: AppContext,
    key: ReadKey,
    state: Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")] = None,
    after: Annotated[
        str | None, Query(pattern=f"^msg_{ULID}$", description="Id of the last delivery of the page before.")
    ] = None,
    limit: Limit = 20,
) -> DeliveryList:
    """List what was sent to a webhook and what is to be, newest first, with every attempt."""
    page = await context.read(
        lambda connection: deliveries.list_deliveries(
            connection, webhook_id, organisation=key.organisation_id, after=after, limit=limit, state=state
        )
    )
    return DeliveryList(data=[DeliveryObject.of(row) for row in page.data], has_more=page.has_more)


@routes.post(
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    responses=problems(NotFound, WebhookDisabled),
)
async def replay_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, context: AppContext, key: WriteKey
) -> DeliveryObject:
    """Send a message again, whatever became of it, under the same `webhook-id` and from the first attempt on."""
    organisation = key.organisation_id
    return DeliveryObject.of(
        await context.write(
            lambda connection: deliveries.replay(connection, webhook_id, delivery_id, organisation=organisation)
        )
    )


def _with_secret(context: AppContext, row: Webhook) -> WebhookWithSecret:
    secret = row.secrets(context.store.key_secret)[0]
    return WebhookWithSecret.of(row).model_copy(update={"secret": secret})
