"""What the API says while its database or its object store does not answer."""

from __future__ import annotations

import structlog
from sqlalchemy.exc import InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.requests import Request
from starlette.responses import Response

from api.problems import Unavailable, respond
from jobs.errors import StorageAwayError

log = structlog.get_logger("fqt.api")

# An internal error is e.g. that of a session which the server has ended.
AWAY: tuple[type[Exception], ...] = (OperationalError, InternalError, PoolTimeoutError)


def answer(request: Request, error: Exception) -> Response:
    """Return the answer to a request that met with one of :data:`AWAY`, or no object store: to be sent again soon."""
    what = "object store" if isinstance(error, StorageAwayError) else "database"
    log.warning(f"{what} does not answer", error=str(error), path=request.scope["path"])
    return respond(request, Unavailable(f"The {what} does not answer right now; try again."))
