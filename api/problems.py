"""Errors of the API: one typed tree whose members answer as problem+json (RFC 9457) and write their own OpenAPI entry.

A class docstring is the default ``detail``; ``code`` is stable and is the last part of the problem's ``type``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse

from api.openai import errors as openai

MEDIA_TYPE = "application/problem+json"
REQUEST_ID_HEADER = "X-Request-ID"
MAX_ERRORS = 100


class FieldError(BaseModel):
    """One wrong field of a request, or one fault of an uploaded file."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(
        description="Path of the field, e.g. `training.epochs`, or the place in the file; empty: the whole of it."
    )
    message: str = Field(description="What is wrong with it.")
    allowed: list[Any] | dict[str, Any] | None = Field(
        default=None, description="What would be allowed: the values, or the bounds by their JSON Schema names."
    )


class ProblemDocument(BaseModel):
    """Body of every 4xx and 5xx answer."""

    type: str = Field(description="Relative reference that names the kind of problem: `/problems/` and the code.")
    title: str = Field(description="The kind of problem, in words.")
    status: int = Field(description="The HTTP status code.")
    detail: str = Field(description="What went wrong in this request, and what to do about it.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="Stable code of the kind of problem.")
    errors: list[FieldError] = Field(description="Every wrong field; empty where no field is to blame.")
    request_id: str = Field(description="Id of the request, as in the `X-Request-ID` header and the log.")


class OpenAIProblemDocument(ProblemDocument):
    """Body of every 4xx and 5xx answer to OpenAI's clients."""

    error: openai.OpenAIError


def _bounded(errors: Sequence[FieldError]) -> list[FieldError]:
    """The first so many: an answer must not be a thousand times its request."""
    if len(errors) <= MAX_ERRORS:
        return list(errors)
    more = FieldError(field="", message=f"{len(errors) - MAX_ERRORS} more are wrong and not listed")
    return [*errors[:MAX_ERRORS], more]


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """The request failed."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str | None = None, *, errors: Sequence[FieldError] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        self.detail = detail or " ".join((self.__doc__ or self.title).split())
        self.errors = _bounded(errors)
        self.headers = dict(headers or {})
        super().__init__(self.detail)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """What an answer of this kind looks like, for the OpenAPI document."""
        return {
            "type": f"/problems/{cls.code}",
            "title": cls.title,
            "status": cls.status,
            "detail": " ".join((cls.__doc__ or "").split()),
            "instance": "/v1/…",
            "code": cls.code,
            "errors": [],
            "request_id": "req_5f0d8a0c",
        }


class Malformed(Problem):
    """The request body is not well-formed JSON."""

    status, code, title = 400, "malformed_body", "Malformed request"


class NotHttp(Problem):
    """What was received is no well-formed HTTP/1.1 request, or its headers are too large."""

    status, code, title = 400, "malformed_request", "No HTTP request"


class BadHeaders(Problem):
    """Headers contradict each other, or one stands there several times that may stand there once."""

    status, code, title = 400, "bad_headers", "Bad headers"


class HostNotAllowed(Problem):
    """The Host header names a host that this service does not answer for; see the setting FQT_ALLOWED_HOSTS."""

    status, code, title = 400, "host_not_allowed", "Host not allowed"


class Unauthenticated(Problem):
    """A valid API key is needed: send the header "Authorization: Bearer fqt_…"."""

    status, code, title = 401, "unauthenticated", "Authentication needed"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="fqt"'})


class Forbidden(Problem):
    """The API key lacks the scope that this operation needs."""

    status, code, title = 403, "insufficient_scope", "Not permitted"


class CsrfRejected(Forbidden):
    """A browser's session changes nothing without its token: send the session's csrf_token as X-CSRF-Token."""

    code, title = "csrf_token_needed", "Session token needed"


class DownloadsOff(Problem):
    """This service downloads nothing: whoever runs it has not switched FQT_DATASET_URLS on."""

    status, code, title = 403, "downloads_off", "Downloads are off"


class NotFound(Problem):
    """There is no such resource."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowed(Problem):
    """This path does not answer to this method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class Conflict(Problem):
    """The resource is in a state that does not permit this."""

    status, code, title = 409, "conflict", "Conflict"


class DatasetInUse(Conflict):
    """The data set is in use by a job that has not ended: cancel that job or wait for it."""

    code, title = "dataset_in_use", "Data set in use"


class ModelNotUsable(Conflict):
    """The model cannot do this: weights alone neither predict nor are exported. Train a job from them first."""

    code, title = "model_not_usable", "Model not usable"


class QuotaExceeded(Conflict):
    """As many jobs of this API key wait as may: wait until one has started, or cancel one."""

    code, title = "quota_exceeded", "Quota exceeded"


class TooManyWebhooks(Conflict):
    """There are as many webhooks as there may be: delete one first."""

    code, title = "too_many_webhooks", "Too many webhooks"


class WebhookDisabled(Conflict):
    """Nothing is sent to a webhook that is disabled; enable it first."""

    code, title = "webhook_disabled", "Webhook disabled"


class TooLarge(Problem):
    """The request body is larger than this service accepts."""

    status, code, title = 413, "too_large", "Content too large"


class TargetTooLong(Problem):
    """The request's path and query are longer than this service accepts."""

    status, code, title = 414, "target_too_long", "Request target too long"


class UnsupportedMediaType(Problem):
    """The request body has a content type that this operation does not take."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class RangeNotSatisfiable(Problem):
    """The Range header asks for bytes that the file does not have."""

    status, code, title = 416, "range_not_satisfiable", "Range not satisfiable"


class Invalid(Problem):
    """Some fields are wrong; `errors` lists every one of them."""

    status, code, title = 422, "validation_error", "Invalid request"


class DatasetRejected(Invalid):
    """The data set cannot be used; `errors` lists every fault that was found. Nothing was kept of it."""

    code, title = "dataset_rejected", "Data set rejected"


class UrlRefused(Invalid):
    """Nothing is fetched from this URL: it is none of http or https, or leads to an address that is not allowed."""

    code, title = "url_refused", "URL refused"


class DownloadFailed(Invalid):
    """The data set could not be downloaded: its server does not answer, or not with the file. Nothing was kept."""

    code, title = "download_failed", "Download failed"


class ModelRejected(Invalid):
    """The file is no model that can be used; `errors` says what is wrong with it. Nothing was kept of it."""

    code, title = "model_rejected", "Model rejected"


class IdempotencyMismatch(Invalid):
    """This Idempotency-Key was used before with another request; use a new key for a new request."""

    code, title = "idempotency_key_reused", "Idempotency key reused"


class RateLimited(Problem):
    """Too many requests; the Retry-After header says when to try again."""

    status, code, title = 429, "rate_limited", "Too many requests"


class HeadersTooLarge(Problem):
    """The request's headers are larger than this service accepts."""

    status, code, title = 431, "headers_too_large", "Headers too large"


class Internal(Problem):
    """Something failed inside the service. The log holds the details under the request id."""

    status, code, title = 500, "internal_error", "Internal error"


class Unavailable(Problem):
    """The service cannot answer right now; try again in a moment."""

    status, code, title = 503, "unavailable", "Service unavailable"

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "2"})


class NoWorker(Unavailable):
    """No worker answers: start one (`fqt worker`; `fqt up` has its own), then try again."""

    code, title = "no_worker", "No worker"


class DeadlineExceeded(Problem):
    """No answer came in time; try again in a moment."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


def for_status(status: int, detail: str | None, headers: Mapping[str, str] | None) -> Problem:
    """Return the problem that stands for a bare HTTP status, as the framework raises them.

    Statuses without a class of their own keep their status under the code ``http_<status>``.
    """
    bare: dict[int, type[Problem]] = {
        400: Malformed,
        404: NotFound,
        405: MethodNotAllowed,
        413: TooLarge,
        415: UnsupportedMediaType,
    }
    phrase = HTTPStatus(status).phrase
    row: type[Problem] = bare.get(status) or type(
        "HttpProblem", (Problem,), {"status": status, "code": f"http_{status}", "title": phrase, "__doc__": phrase}
    )
    return row(detail if detail != phrase else None, headers=headers)


def request_id(request: Request) -> str:
    """Return the id that the outermost middleware gave to the request."""
    value = request.scope.get("fqt.request_id", "")
    return str(value)


def document(problem: Problem, *, instance: str, request_id: str) -> ProblemDocument:
    """Return the body that tells ``problem``."""
    return ProblemDocument(
        type=f"/problems/{problem.code}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        instance=instance,
        code=problem.code,
        errors=problem.errors,
        request_id=request_id,
    )


def respond(request: Request, problem: Problem) -> JSONResponse:
    """Return the answer that tells ``problem`` to the client."""
    identity, path = request_id(request), request.scope["path"]
    body = document(problem, instance=path, request_id=identity).model_dump(mode="json")
    own = dict(problem.headers)
    if openai.applies(path):
        body["error"] = openai.member(problem.status, problem.code, problem.detail, problem.errors)
        own |= openai.headers(problem.status)
    response = JSONResponse(body, problem.status, media_type=MEDIA_TYPE)
    headers: MutableHeaders = response.headers
    headers.update(own)
    headers[REQUEST_ID_HEADER] = identity
    headers["Cache-Control"] = "no-store"
    return response


def responses(*kinds: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI ``responses`` entries of an operation that can answer with these problems."""
    entries: dict[int | str, dict[str, Any]] = {}
    for kind in sorted(kinds, key=lambda kind: kind.status):
        entry = entries.setdefault(
            kind.status,
            {
                "description": kind.title,
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}, "examples": {}}},
            },
        )
        entry["content"][MEDIA_TYPE]["examples"][kind.code] = {"summary": kind.title, "value": kind.example()}
    return entries
