"""The app factory: one call makes an app of its own, with nothing shared between two of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator

import structlog
from anyio import to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

from api import handlers, page, reference, tracing
from api.asks import Asker
from api.audit import AuditMiddleware
from api.auth import AuthMiddleware
from api.context import Context
from api.deliverer import Deliverer
from api.doorbell import CeleryDoorbell, Doorbell
from api.hub import EventHub
from api.instruments import Instruments
from api.ledger import Ledger
from api.limits import AddressLimitMiddleware, Limiter
from api.middleware import HostMiddleware, RequestMiddleware
from api.openapi import DESCRIPTION, TAGS, install
from api.ringer import Ringer
from api.routes import RESOURCES
from jobs import audit_log, database
from jobs import keys as key_store
from jobs.audit_log import Entry
from jobs.reaper import Reaper
from jobs.settings import Settings
from jobs.store import Store

VERSION = "0.1.0"
_PATIENCE = 3.0
log = structlog.get_logger("fqt.api")


def create_app(settings: Settings, *, doorbell: Doorbell | None = None) -> FastAPI:
    """Make the API.

    Args:
        settings: read once by the caller.
        doorbell: how workers are told; ``None``: through the broker of the settings.
    """
    store = Store.open(settings)
    instruments = Instruments()
    doorbell = doorbell or Ringer(CeleryDoorbell(settings, instruments))
    context = Context(
        settings=settings,
        store=store,
        doorbell=doorbell,
        instruments=instruments,
        hub=EventHub(store),
        ledger=Ledger(store, instruments),
        limiter=Limiter(settings, instruments, store.key_secret),
        asker=Asker(settings, doorbell),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await to_thread.run_sync(prepare, context)
        stop = threading.Event()
        workers = [
            threading.Thread(target=work, args=(stop,), name=name, daemon=True)
            for name, work in (
                ("reaper", Reaper(store, context.doorbell).run),
                ("deliverer", Deliverer(store, told=instruments.delivery).run),
                ("ledger", context.ledger.run),
            )
        ]
        for thread in workers:
            thread.start()
        hub = asyncio.create_task(context.hub.run(), name="event hub")
        try:
            yield
        finally:
            context.hub.close()
            stop.set()
            await hub
            deadline = time.monotonic() + _PATIENCE
            for thread in workers:
                await to_thread.run_sync(thread.join, max(0.0, deadline - time.monotonic()))
            await context.limiter.close()
            await context.asker.close()
            context.doorbell.close()
            store.close()

    app = FastAPI(
        title="fqt",
        version=VERSION,
        summary="Fine-tune image classifiers with 1-bit fully quantised training.",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=_operation_id,
        telemetry=tracing.config(),
        middleware=[
            Middleware(RequestMiddleware, instruments=instruments, proxies=settings.proxies),
            Middleware(HostMiddleware, allowed=settings.hosts),
            Middleware(AddressLimitMiddleware, limiter=context.limiter),
            Middleware(AuthMiddleware, context=context),
            Middleware(AuditMiddleware, ledger=context.ledger),
        ],
    )
    app.state.context = context
    for routes in RESOURCES:
        app.include_router(routes)
    app.include_router(reference.routes)
    app.include_router(page.routes)
    handlers.install(app)
    install(app)
    return app


def close_streams(app: FastAPI) -> None:
    """End every event stream, so that a server that is told to stop need not wait for clients. Safe in any thread."""
    app.state.context.hub.close()


def prepare(context: Context) -> None:
    """Bring the tables up to date and make the first key, where the settings want it."""
    if context.settings.migrates:
        database.upgrade(context.store.engine)
    with context.store.write() as connection:
        if key_store.bootstrap(connection, context.store.key_secret, context.settings.key_path) is not None:
            audit_log.write(connection, [Entry(action="first key", actor="service")])
            log.info("made the first API key", path=str(context.settings.key_path))


def _operation_id(route: APIRoute) -> str:
    """Operations are named like their functions, which are unique; a test holds them to it."""
    return route.name
