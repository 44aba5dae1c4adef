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
from jobs import jobs

routes = router("health", prefix="")
log = structlog.get_logger("fqt.api.health")


@routes.get("/healthz")
async def liveness() -> Health:
    """Say that the process answers. Needs no key."""
    return Health()


@routes.get("/readyz", responses=responses(RateLimited, Unavailable))
async def readiness(context: AppContext) -> Readiness:
    """Say whether the service can do its work: 503 without its database or its broker. Needs no key."""
    try:
        await context.read(jobs.counts)
        database = True
    except SQLAlchemyError as error:
        log.warning("database does not answer", error=str(error))
        database = False
    broker = await to_thread.run_sync(context.doorbell.broker_answers)
    missing = [name for name, there in (("database", database), ("broker", broker)) if not there]
    if missing:
        raise Unavailable(f"The service is not ready: the {' and the '.join(missing)} cannot be reached.")
    worker = await to_thread.run_sync(context.doorbell.worker_answers)
    return Readiness(status="ready", database=True, broker=True, worker=worker)


@routes.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    response_class=Response,
)
async def prometheus(context: AppContext, _key: OperatorKey) -> Response:
    """Give the figures of this process, and the number of jobs by state, in Prometheus' text format.

    They are those of the whole service: only keys of the organisation that runs it (the first one) may ask.
    """
    for state, count in (await context.read(jobs.counts)).items():
        context.instruments.jobs.labels(state.value).set(count)
    return Response(context.instruments.text(), media_type=CONTENT_TYPE)
