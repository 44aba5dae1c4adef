"""What all routes have in common: strict bodies, strict query strings, conditional reads."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from python_multipart.multipart import parse_options_header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api import json_body
from api.openai import errors as openai
from api.problems import (
    MEDIA_TYPE,
    Forbidden,
    Invalid,
    Problem,
    RateLimited,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
)
from api.problems import responses as entries
from api.validation import UNKNOWN_PARAMETER
from jobs.idempotency import Answer

MAX_JSON_BYTES = 1 << 20


class _ParsedRequest(Request):
    """A request whose JSON body was read already."""

    def __init__(self, request: Request, body: bytes, value: Any) -> None:
        super().__init__(request.scope, request.receive)
        self._raw, self._value = body, value

    async def body(self) -> bytes:
        return self._raw

    async def json(self) -> Any:
        return self._value


class StrictRoute(APIRoute):
    """A route that takes strict JSON only (see :mod:`api.json_body`), and no query parameter that it does not know."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Put the strict reading in front of the framework's own."""
        handler = super().get_route_handler()
        known = _query_names(self.dependant)
        takes_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            value = None
            if takes_body:
                body = await _read(request)
                value = json_body.parse(body)
                request = _ParsedRequest(request, body, value)
            _check_query(request.query_params.keys(), known, value)
            return await handler(request)

        return strict


def router(tag: str, prefix: str = "/v1") -> APIRouter:
    """Return a router for the routes of one resource."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=StrictRoute)


def problems(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI entries of an operation that needs a key and can answer with these problems besides."""
    return entries(Unauthenticated, Forbidden, Invalid, RateLimited, *kinds)


def openai_problems(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the same entries for an operation of OpenAI's API, whose problems have a member more."""
    found = problems(*kinds)
    for entry in found.values():
        content = entry["content"][MEDIA_TYPE]
        content["schema"] = {"$ref": "#/components/schemas/OpenAIProblemDocument"}
        for code, example in content["examples"].items():
            value = example["value"]
            error = openai.member(value["status"], code, value["detail"], ())
            example["value"] = {**value, "error": error}
    return found


def created(answer: Answer, resources: str, body: Any = None) -> JSONResponse:
    """Answer with what was made below ``resources`` (``/v1/jobs``), or was when this very request came before.

    ``body`` stands for the answer's own, where what is remembered is not all that is shown.
    """
    headers = {"Location": f"{resources}/{answer.body['id']}"}
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(answer.body if body is None else body, answer.status, headers=headers)


def conditional(request: Request, body: BaseModel) -> Response:
    """Answer with ``body`` and its ETag; or 304 if the client has it already (``If-None-Match``)."""
    content = body.model_dump(mode="json")
    response = JSONResponse(content)
    tag = f'"{hashlib.sha256(bytes(response.body)).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if matches(request, tag):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return response


def matches(request: Request, tag: str) -> bool:
    """Whether ``If-None-Match`` names this entity tag (weak comparison, RFC 9110 section 13.1.2)."""
    header = request.headers.get("if-none-match", "")
    return any(entry.strip().removeprefix("W/") in {tag, "*"} for entry in header.split(","))


def _query_names(dependant: Dependant) -> set[str]:
    """Names of the query parameters of a route and of its dependencies."""
    names = {field.alias for field in dependant.query_params}
    return names.union(*(_query_names(inner) for inner in dependant.dependencies))


def _check_query(sent: Iterable[str], known: set[str], body: Any) -> None:
    """A misspelt parameter must not be passed over: ``?dryrun=true`` would make a job.

    Raises:
        RequestValidationError: with every parameter that is not known, as the framework tells its own.
    """
    errors = []
    for name in sorted(set(sent) - known):
        guess = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {guess[0]!r}?" if guess else ""
        message = f"unknown query parameter{hint}"
        errors.append(
            {"type": UNKNOWN_PARAMETER, "loc": ("query", name[:100]), "msg": message, "ctx": {"known": known}}
        )
    if errors:
        raise RequestValidationError(errors, body=body)


async def _read(request: Request) -> bytes:
    """Return the body of a JSON request.

    Raises:
        UnsupportedMediaType: it is declared as something else.
        TooLarge: more than ``MAX_JSON_BYTES``, declared or sent.
    """
    media, options = parse_options_header(request.headers.get("content-type", ""))
    if media != b"application/json":
        raise UnsupportedMediaType(
            "The body must be JSON: send it with Content-Type: application/json, not "
            f"{media[:100].decode('latin-1') or 'none'}."
        )
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":
        raise UnsupportedMediaType("JSON is UTF-8, whatever Content-Type says of its charset.")
    return await whole_body(request, MAX_JSON_BYTES, f"A JSON body has at most {MAX_JSON_BYTES} bytes.")


async def whole_body(request: Request, most: int, told: str) -> bytes:
    """Return the body of a request.

    Raises:
        TooLarge: more than ``most`` bytes, declared or sent; ``told`` says so.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise TooLarge(told)
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise TooLarge(told)
    return bytes(body)
