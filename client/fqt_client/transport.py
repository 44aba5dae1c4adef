"""One HTTP exchange with the service: authentication, retries with back-off, and typed errors."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from fqt_client.config import ClientConfig
from fqt_client.errors import (
    ApiError,
    CannotConnectError,
    RateLimitedError,
    UnexpectedAnswerError,
    error_from_problem,
)
from fqt_client.sendable import check_headers, json_bytes
from fqt_client.wire import Blocking, Wire, sync

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FIRST_DELAY = 0.25
LONGEST_DELAY = 8.0
LONGEST_RETRY_AFTER = 60.0
"""Seconds that a call waits because the service asks it to; if it asks for more, the caller is told at once."""


LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def backoff(attempt: int, retry_after: float | None = None) -> float:
    """Seconds to wait before try ``attempt + 1`` (from 0): exponential with jitter, or what the service asked for."""
    if retry_after is not None:
        return retry_after
    ceiling = min(LONGEST_DELAY, FIRST_DELAY * 2.0**attempt)
    # Jitter keeps many waiting clients from coming back at the same moment; it guards no secret.
    return ceiling * (0.5 + random.random() / 2)  # noqa: S311


def once(key: str | None = None) -> dict[str, str]:
    """The header by which a request does a thing once, however often it is sent; with a key of its own if None.

    It is sent with all that changes nothing, or nothing more the second time, as well: it tells the transport that the
    request may be repeated.
    """
    return {"Idempotency-Key": uuid.uuid4().hex if key is None else key}


class AsyncTransport:
    """Sends requests to one service.

    Args:
        config: URL and key.
        wire: the way to the network.
        retries: how often a request that may be repeated is repeated after 429, 502, 503, 504 or a broken connection;
            not where the service is not there from the outset: that is told at once.
    """

    def __init__(self, config: ClientConfig, wire: Wire, *, retries: int = 4) -> None:
        self.config = config
        self.wire = wire
        self.retries = retries
        self._heard = False

    async def json(self, method: str, path: str, /, **options: Any) -> Any:
        """Send a request with :meth:`request` and decode its JSON answer.

        Raises:
            UnexpectedAnswerError: the answer is no JSON.
        """
        response = await self.request(method, path, **options)
        try:
            return response.json()
        except ValueError as error:
            kind = response.headers.get("content-type", "no content type")
            raise UnexpectedAnswerError(
                f"{self.config.base_url}{path} answered {kind} instead of JSON",
                remedy="check that the URL is that of an fqt service",
            ) from error

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        build: Callable[[], Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        retries: int | None = None,
    ) -> httpx.Response:
        """Send a request and return its successful answer.

        It is repeated when that cannot do a thing twice: the method is safe, an ``Idempotency-Key`` is sent, the
        service took no notice of it (429), or the connection was never made. Where nothing has ever answered, a
        connection that is refused is no outage that passes: nothing is repeated.

        Args:
            method: HTTP method.
            path: path from the base URL, starting with ``/``.
            params: query parameters; those that are None are left out.
            json: body.
            build: gives further arguments of the request (``files``, ``content``), anew for each try.
            headers: further headers.
            timeout: seconds without a byte, if other than the client's.
            retries: how often it may be repeated, if other than the client's.

        Raises:
            ApiError: the service refused it (the subclass says how).
            CannotConnectError: no answer came.
            UnusableValueError: the body or a header holds what cannot be sent.
        """
        content = None if json is None else json_bytes(json)
        check_headers(headers or {})
        repeatable = method in SAFE_METHODS or "Idempotency-Key" in (headers or {})
        retries = self.retries if retries is None else retries
        for attempt in range(retries + 1):
            last = attempt == retries
            options = _options(params, headers, timeout)
            if content is not None:
                options["content"] = content
                options["headers"]["Content-Type"] = "application/json"
            if build is not None:
                options.update(build())
            try:
                response = await self.wire.fetch(self.wire.build(method, path, **options))
            except httpx.TransportError as error:
                never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                absent = isinstance(error, httpx.ConnectError) and not self._heard
                if last or absent or not (repeatable or never_sent):
                    raise self.cannot_connect(error) from error
                await self.wire.sleep(backoff(attempt))
                continue
            self._heard = True
            if response.is_success:
                return response
            refusal = self.refusal(response)
            if last or not (worth_repeating(refusal) and (repeatable or isinstance(refusal, RateLimitedError))):
                raise refusal
            await self.wire.sleep(backoff(attempt, refusal.retry_after))
        raise AssertionError("unreachable: the last try returns or raises")

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """GET with the body left to be read piece by piece. One try only: the caller knows where to resume.

        Raises:
            ApiError: the service refused it.
            httpx.TransportError: the connection failed, now or while reading.
        """
        reply = await self.wire.open(self.wire.build("GET", path, **_options(None, headers, timeout)))
        self._heard = True
        try:
            if not reply.is_success:
                await self.wire.read(reply)
                raise self.refusal(reply)
            yield reply
        finally:
            await self.wire.release(reply)

    def cannot_connect(self, error: httpx.TransportError) -> CannotConnectError:
        """The client's error for a connection that failed."""
        reason = str(error) or type(error).__name__
        source = f"(from {'the ' if '/' not in self.config.source else ''}{self.config.source})"
        if "SSL" in reason:
            remedy = (
                f"check the URL {source}: is it http://, or has the service a certificate that this machine trusts?"
            )
        elif httpx.URL(self.config.base_url).host in LOOPBACK:
            remedy = f"start it with `fqt up`, or check the URL {source}"
        else:
            remedy = f"check that it runs there, and the URL {source}"
        return CannotConnectError(f"cannot reach the service at {self.config.base_url} ({reason})", remedy=remedy)

    @staticmethod
    def refusal(response: httpx.Response) -> ApiError:
        """The typed error of an answer with status 400 or more."""
        try:
            body = response.json()
        except ValueError:
            body = None
        return error_from_problem(
            response.status_code,
            body,
            reason=response.reason_phrase,
            request_id=response.headers.get("x-request-id"),
            retry_after=_retry_after(response.headers.get("retry-after", "")),
        )


class Transport(Blocking):
    """The same, for callers that block."""

    json = sync(AsyncTransport.json)
    request = sync(AsyncTransport.request)


def connection_options(config: ClientConfig, timeout: float) -> dict[str, Any]:
    """The arguments that both kinds of httpx clients are made with."""
    return {
        "base_url": config.base_url,
        "headers": {"Authorization": f"Bearer {config.api_key}", "User-Agent": "fqt-client"},
        "timeout": httpx.Timeout(timeout, connect=min(timeout, 10.0)),
    }


def worth_repeating(refusal: ApiError) -> bool:
    """Whether the service may answer otherwise in a moment, and does not ask for more patience than a call has."""
    transient = refusal.status in RETRIED_STATUSES or refusal.code == "request_in_progress"
    return transient and (refusal.retry_after or 0.0) <= LONGEST_RETRY_AFTER


def _options(
    params: Mapping[str, Any] | None, headers: Mapping[str, str] | None, timeout: float | None
) -> dict[str, Any]:
    present = {name: value for name, value in (params or {}).items() if value is not None}
    options: dict[str, Any] = {"params": present, "headers": dict(headers or {})}
    return options if timeout is None else options | {"timeout": timeout}


def _retry_after(text: str) -> float | None:
    """Seconds of a ``Retry-After`` header (RFC 9110, section 10.2.3): a number of them, or a moment."""
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
