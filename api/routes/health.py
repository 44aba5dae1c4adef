"""Liveness, readiness and figures for Prometheus."""

from __future__ import annotations

import structlog
from anyio import to_thread
from fastapi import Response
from sqlalchemy.exc import SQLAlchemyError

from api.auth import OperatorKey
from api.context import AppContext
from api.instruments import CONTENT_TYPE
from api.problems import RateLimited, Unavailable, responses
from api.routing import problems, router
from api.schemas.health import Health, Readiness
from jobs import database, figures

routes = router("health", prefix="")
log = structlog.get_logger("fqt.api.health")


@routes.get("/healthz")
async def liveness() -> Health:
    """Say that the process answers. Needs no key."""
    return Health()


@routes.get("/readyz", responses=responses(RateLimited, Unavailable))
async def readiness(context: AppContext) -> Readiness:
    """Say whether the service can do its work: 503 without database, tables, broker or files. Needs no key."""
    try:
        behind = await context.read(database.is_behind)
        answers = True
    except SQLAlchemyError as error:
        log.warning("database does not answer", error=str(error))
        behind = answers = False
    broker = await to_thread.run_sync(context.doorbell.broker_answers)
    files = await to_thread.run_sync(context.store.blobs.answers)
    parts = {"database": answers, "broker": broker, "store of files": files}
    missing = [name for name, there in parts.items() if not there]
    if behind:
        raise Unavailable("The service is not ready: its tables are of an older version; `fqt migrate` updates them.")
    if missing:
        raise Unavailable(f"The service is not ready: the {' and the '.join(missing)} cannot be reached.")
    worker = await to_thread.run_sync(context.doorbell.worker_answers)
    return Readiness(status="ready", database=True, broker=True, files=True, worker=worker)


@routes.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    response_class=Response,
)
async def prometheus(context: AppContext, _key: OperatorKey) -> Response:
    """Give the figures of this process and of the whole service in Prometheus' text format.

    They are over all organisations: only keys of the one that runs the service (the first one) may ask.
    """
    return Response(context.instruments.text(await context.read(figures.read)), media_type=CONTENT_TYPE)
