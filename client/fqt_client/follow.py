"""Follow what goes on: a job's event log, by a stream that reconnects where it broke off; anything else by asking."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

import httpx

from fqt_client.errors import (
    ApiError,
    CannotConnectError,
    NotFoundError,
    RateLimitedError,
    ServerFaultError,
    UnexpectedAnswerError,
)
from fqt_client.models import Event, Job, Page
from fqt_client.paths import job_path
from fqt_client.sse import Parser
from fqt_client.transport import AsyncTransport, backoff

# The service sends a ping at least every 15 s: three missed ones mean that the connection is dead.
SILENCE_SECONDS = 50.0
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 120.0
"""How long the service may be away. A restart takes less."""

PAGE = 500

T = TypeVar("T")


class EventFollower:
    """Yields the events of one job, each exactly once and in order, until the job has ended.

    Args:
        transport: where to ask.
        job_id: the job.
        after: ``seq`` of the last event that is known already.
        patience: seconds without any answer after which it gives up.
        clock: seconds that only grow, for tests.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        job_id: str,
        *,
        after: int = 0,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transport = transport
        self.path = job_path(job_id)
        self.after = after
        self.patience = patience
        self.clock = clock
        self._finished = False
        self._no_stream = False
        self._last_answer = clock()

    async def events(self) -> AsyncGenerator[Event, None]:
        """The events, from where it stands."""
        attempt = 0
        while not self._finished:
            before = self.after
            error: Exception | None = None
            try:
                async with aclosing(self._poll() if self._no_stream else self._stream()) as events:
                    async for event in events:
                        if event.seq > self.after:
                            self.after = event.seq
                            yield event
                if self._no_stream:
                    continue
            except httpx.TransportError as broken:
                error = self.transport.cannot_connect(broken)
            except (RateLimitedError, ServerFaultError) as refused:
                error = refused
            if self._finished:
                return
            attempt = 0 if self.after > before else attempt + 1
            if self.clock() - self._last_answer > self.patience:
                raise error or CannotConnectError(f"the event stream of {self.path} ends again and again")
            wait = error.retry_after if isinstance(error, ApiError) else None
            await self.transport.wire.sleep(backoff(attempt, wait))

    async def _stream(self) -> AsyncGenerator[Event, None]:
        """Yield what one connection brings; note whether the service has no stream at all."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.after)}
        parser = Parser()
        try:
            async with self.transport.stream(
                f"{self.path}/events/stream", headers=headers, timeout=SILENCE_SECONDS
            ) as reply:
                if not reply.headers.get("content-type", "").startswith("text/event-stream"):
                    self._no_stream = True
                    return
                async with aclosing(self.transport.wire.lines(reply)) as lines:
                    async for line in lines:
                        if (message := parser.feed(line)) is None:
                            continue
                        self._last_answer = self.clock()
                        if message.event == "end":
                            self._finished = True
                            return
                        yield _event(message.data)
        except ApiError as refused:
            # 404 is an unknown job, unless the job can be read: then it is the stream that is missing.
            if isinstance(refused, NotFoundError):
                await self.transport.request("GET", self.path)
            elif refused.status not in {405, 406, 501}:
                raise
            self._no_stream = True

    async def _poll(self) -> AsyncGenerator[Event, None]:
        """Yield what is in the log until the job has ended."""
        while not self._finished:
            # The state is read first: whatever happened until a job ended is in the log by then.
            ended = Job.from_json(await self.transport.json("GET", self.path)).ended
            async with aclosing(logged(self.transport, self.path, self.after)) as events:
                async for event in events:
                    yield event
            self._finished = ended
            if not ended:
                await self.transport.wire.sleep(POLL_SECONDS)


async def polled(
    transport: AsyncTransport, ask: Callable[[], Awaitable[T]], *, patience: float = PATIENCE_SECONDS
) -> AsyncGenerator[T, None]:
    """What ``ask`` gives, again and again, over restarts of the service; one that is away at first is told at once.

    Args:
        transport: waits in between.
        ask: one request.
        patience: seconds without an answer after which it gives up.
    """
    heard: float | None = None
    attempt, waited = 0, 0.0
    while True:
        try:
            found = await ask()
        except (CannotConnectError, RateLimitedError, ServerFaultError) as error:
            if heard is None or max(waited, time.monotonic() - heard) > patience:
                raise
            wait = backoff(attempt, error.retry_after if isinstance(error, ApiError) else None)
            attempt, waited = attempt + 1, waited + wait
        else:
            yield found
            heard, attempt, waited, wait = time.monotonic(), 0, 0.0, POLL_SECONDS
        await transport.wire.sleep(wait)


async def logged(transport: AsyncTransport, path: str, after: int) -> AsyncGenerator[Event, None]:
    """The events of a job that are there now, page by page.

    Args:
        transport: where to ask.
        path: path of the job.
        after: leave out events up to this ``seq``.
    """
    while True:
        params = {"after": after, "limit": PAGE}
        page = Page.from_json(Event, await transport.json("GET", f"{path}/events", params=params))
        for event in page.data:
            yield event
        if not (page.has_more and page.data):
            return
        after = page.data[-1].seq


def _event(data: str) -> Event:
    try:
        return Event.from_json(json.loads(data))
    except ValueError as error:
        raise UnexpectedAnswerError(f"the event stream holds something that is no JSON: {data[:80]!r}") from error
