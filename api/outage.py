"""What the API says while its database does not answer."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import Response

from api.problems import Unavailable, respond

log = structlog.get_logger("fqt.api")

# An internal error is e.g. that of a session which the server has ended.
AWAY: tuple[type[Exception], ...] = (OperationalError, InternalError, PoolTimeoutError)


def answer(request: Request, error: Exception) -> Response:
    """Return the answer to a request that met with one of :data:`AWAY`: to be sent again in a moment."""
    log.warning("database does not answer", error=str(error), path=request.scope["path"])
    return respond(request, Unavailable("The database does not answer right now; try again."))
