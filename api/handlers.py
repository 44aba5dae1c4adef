"""How exceptions become answers: the framework's, the domain's and the database's, each as a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from api import outage, problems
from api.problems import FieldError, Problem
from api.specs import as_field_error, spec_errors
from api.validation import explain
from jobs import errors
from jobs.validation import Bounds

log = structlog.get_logger("fqt.api")

_KINDS: dict[type[errors.JobsError], type[Problem]] = {
    errors.NotFoundError: problems.NotFound,
    errors.DatasetInUseError: problems.DatasetInUse,
    errors.IllegalMoveError: problems.Conflict,
    errors.JobNotFinishedError: problems.Conflict,
    errors.KeyEndedError: problems.Conflict,
    errors.UrlRefusedError: problems.UrlRefused,
    errors.SweepEndedError: problems.Conflict,
    errors.SweepNotFinishedError: problems.Conflict,
    errors.BlobTooLargeError: problems.TooLarge,
    errors.TooManyWebhooksError: problems.TooManyWebhooks,
    errors.WebhookDisabledError: problems.WebhookDisabled,
}

# Routes that read their body themselves, since that takes the database: where the framework refuses a header or a
# parameter, what is wrong with the body is told in the same answer.
_BODIES: dict[str, Callable[[Connection, Any, Bounds], list[FieldError]]] = {"create_job": spec_errors}


def install(app: FastAPI) -> None:
    """Register the handlers. What none of them knows is left to :class:`api.middleware.RequestMiddleware`."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(errors.JobsError, _domain)
    for away in (*outage.AWAY, errors.StorageAwayError):
        app.add_exception_handler(away, _outage)


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problems.respond(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail, headers = error.detail, dict(error.headers or {})
    if error.status_code == 404:
        detail = f"There is nothing at {request.scope['path']}."
    elif error.status_code == 405:
        detail = f"{request.scope['path']} does not answer to {request.method}."
        if methods := _methods_of(request):
            headers["Allow"] = ", ".join(methods)
    return problems.respond(request, problems.for_status(error.status_code, detail, headers))


def _methods_of(request: Request) -> list[str]:
    """Return every method that the request's path answers to: the framework names those of one route only."""
    paths: dict[str, dict[str, Any]] = request.app.openapi()["paths"]
    asked = request.scope["path"]
    # A path of its own goes before one with parameters that it would fit as well (`/v1/datasets/from-url`).
    found = [asked] if asked in paths else [path for path in paths if compile_path(path)[0].match(asked)]
    return sorted(method.upper() for path in found for method in paths[path])


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found: list[dict[str, Any]] = list(error.errors())
    body = getattr(request.scope.get("route"), "body_field", None)
    kind = getattr(getattr(body, "field_info", None), "annotation", None)
    model = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    errors = explain(found, model)
    if (check := _BODIES.get(getattr(request.scope.get("route"), "name", ""))) is not None:
        context = request.app.state.context
        bounds = Bounds.of(context.settings, request.scope["fqt.key"])
        errors += await context.read(lambda connection: check(connection, error.body, bounds))
    return problems.respond(request, problems.Invalid(errors=errors))


async def _domain(request: Request, error: Exception) -> Response:
    return problems.respond(request, translate(error))


async def _outage(request: Request, error: Exception) -> Response:
    return outage.answer(request, error)


def translate(error: Exception) -> Problem:
    """Return the problem that an error of the domain is told as."""
    if isinstance(error, errors.InvalidSpecError):
        return problems.Invalid(errors=[as_field_error(fault) for fault in error.errors])
    if isinstance(error, errors.AnswerTooLargeError):
        return problems.Invalid(errors=[FieldError(field="points", message=str(error))])
    if isinstance(error, errors.IdempotencyConflictError):
        return problems.IdempotencyMismatch()
    if isinstance(error, errors.QuotaExceededError):
        message = _sentence(error)
        return problems.QuotaExceeded(
            message, errors=[FieldError(field="", message=message, allowed={"maximum": error.limit})]
        )
    for kind, problem in _KINDS.items():
        if isinstance(error, kind):
            return problem(_sentence(error))
    log.error("unexpected domain error", exc_info=error)
    return problems.Internal()


def _sentence(error: Exception) -> str:
    return str(error)[:1].upper() + str(error)[1:] + "."
