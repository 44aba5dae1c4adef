"""Running the API under uvicorn, with an end that does not wait for clients."""

from __future__ import annotations

import gc
import signal
import socket
import sys

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import close_streams, create_app
from jobs import logs
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
        SystemExit: the address cannot be listened on, or the app cannot start.
    """
    logs.configure(settings.log_level)
    # uvicorn raises the signal that stopped it once more when it is done: that is a good end, not a failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=30,
    )
    # What is there by now stays: a search of it for garbage would hold every request up for about a tenth of a second.
    gc.collect()
    gc.freeze()
    Server(app, config).run()
