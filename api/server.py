"""Running the API under uvicorn, with an end that does not wait for clients."""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from ipaddress import ip_address

import structlog
import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError

from api import tracing
from api.app import close_streams, create_app, prepare
from api.protocol import Protocol
from jobs import keys, logs
from jobs.settings import Settings

GRACE_SECONDS = 3
log = structlog.get_logger("fqt.api")


class Server(uvicorn.Server):
    """A server that ends the event streams before it waits for connections to close."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let requests end, then stop the app."""
        close_streams(self._app)
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or SIGINT; returns within five seconds of it.

    Raises:
        SystemExit: the address cannot be listened on, or must not be as long as no key is valid; or the app cannot
            start.
    """
    logs.configure(settings.log_level, settings.log_format)
    # uvicorn raises the signal that stopped it once more when it is done: that is a good end, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ.setdefault("OTEL_SERVICE_NAME", tracing.SERVICE_NAME)  # where OpenTelemetry looks for it
    app = create_app(settings)
    if not _is_loopback(settings.host):
        _must_have_a_key(app, settings)
    # What is there by now stays: a search of it for garbage would hold every request up for about a tenth of a second.
    gc.collect()
    gc.freeze()
    Server(app, configuration(app, settings)).run()


def configuration(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the app."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _must_have_a_key(app: FastAPI, settings: Settings) -> None:
    """Listen to other machines only where somebody can get in: who cannot is who would open it some other way.

    Raises:
        SystemExit: no key opens the API.
    """
    try:
        prepare(app.state.context)
        with app.state.context.store.read() as connection:
            there = keys.any_opens(connection)
    except SQLAlchemyError:  # the app itself tells at its start what is wrong with its database
        return
    if not there:
        sys.exit(
            f"fqt api: refused to listen on {settings.host}, since no API key is valid: make one with "
            "`fqt keys create --name me --scopes admin`, or listen on this machine alone (FQT_HOST=127.0.0.1)"
        )
