"""The two ways to the network. The client is written once, with `await`; only what stands here differs.

On the blocking wire no coroutine ever waits for an event loop, so :func:`finish` can run one to its end by itself, and
:func:`sync` makes a blocking method of each awaitable one: same parameters, same types, same documentation.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import httpx

P = ParamSpec("P")
T = TypeVar("T")


class Wire(Protocol):
    """Sends requests, reads answers, waits, and does work that blocks."""

    blocking: bool

    def build(self, method: str, path: str, **options: Any) -> httpx.Request:
        """Make a request; ``options`` are those of httpx."""

    async def fetch(self, request: httpx.Request) -> httpx.Response:
        """Send it and read the whole answer."""

    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send it and leave the body of the answer to be read; close it with :meth:`release`."""

    async def read(self, response: httpx.Response) -> None:
        """Read the rest of an open answer."""

    def blocks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body of an open answer, piece by piece."""

    def lines(self, response: httpx.Response) -> AsyncGenerator[str, None]:
        """The lines of an open answer, without their ends."""

    async def release(self, response: httpx.Response) -> None:
        """Close an open answer."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do work that blocks, e.g. read a large file."""

    async def close(self) -> None:
        """Close all connections."""


class BlockingWire:
    """Blocks the thread that asks."""

    blocking = True

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._http = http
        self._sleep = sleep

    def build(self, method: str, path: str, **options: Any) -> httpx.Request:
        """Make a request."""
        return self._http.build_request(method, path, **options)

    async def fetch(self, request: httpx.Request) -> httpx.Response:
        """Send it and read the whole answer."""
        return self._http.send(request)

    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send it and leave the body to be read."""
        return self._http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> None:
        """Read the rest."""
        response.read()

    async def blocks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body, piece by piece."""
        for block in response.iter_bytes():
            yield block

    async def lines(self, response: httpx.Response) -> AsyncGenerator[str, None]:
        """The lines."""
        for line in response.iter_lines():
            yield line

    async def release(self, response: httpx.Response) -> None:
        """Close an open answer."""
        response.close()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do it here and now."""
        return function(*arguments)

    async def close(self) -> None:
        """Close all connections."""
        self._http.close()


class AsyncioWire:
    """Leaves the thread to other tasks of asyncio's event loop."""

    blocking = False

    def __init__(self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._http = http
        self._sleep = sleep

    def build(self, method: str, path: str, **options: Any) -> httpx.Request:
        """Make a request."""
        return self._http.build_request(method, path, **options)

    async def fetch(self, request: httpx.Request) -> httpx.Response:
        """Send it and read the whole answer."""
        return await self._http.send(request)

    async def open(self, request: httpx.Request) -> httpx.Response:
        """Send it and leave the body to be read."""
        return await self._http.send(request, stream=True)

    async def read(self, response: httpx.Response) -> None:
        """Read the rest."""
        await response.aread()

    async def blocks(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The body, piece by piece."""
        async for block in response.aiter_bytes():
            yield block

    async def lines(self, response: httpx.Response) -> AsyncGenerator[str, None]:
        """The lines."""
        async for line in response.aiter_lines():
            yield line

    async def release(self, response: httpx.Response) -> None:
        """Close an open answer."""
        await response.aclose()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._sleep(seconds)

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Do it in a thread."""
        return await asyncio.to_thread(function, *arguments)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


class Blocking:
    """Base of the blocking classes: what :func:`sync` makes for them asks ``core``, the awaitable one, to do it."""

    def __init__(self, core: Any) -> None:
        self._core = core


def finish(coroutine: Awaitable[T]) -> T:
    """Run a coroutine of the blocking wire to its end; there is no event loop, and none is needed.

    Raises:
        RuntimeError: it waits for an event loop, so it is none of the blocking wire.
    """
    steps = coroutine.__await__()
    try:
        next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a blocking call waited for an event loop")


def sync(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """The blocking twin of an awaitable method, for a class derived from :class:`Blocking`."""

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return finish(method(self._core, *args, **kwargs))

    return call


def sync_iterator(
    method: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """The blocking twin of an asynchronous generator method, for a class derived from :class:`Blocking`."""

    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        source = method(self._core, *args, **kwargs)
        try:
            while True:
                try:
                    item = finish(anext(source))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if isinstance(source, AsyncGenerator):
                finish(source.aclose())

    # Notebooks show the signature; everything of it is true but that there is something to be awaited.
    signature = inspect.signature(method)
    told = str(signature.return_annotation).replace("AsyncIterator", "Iterator")
    call.__signature__ = signature.replace(return_annotation=told)  # type: ignore[attr-defined]
    return call
