"""What the routes share: made once by the app factory, handed to each route as a dependency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Connection

from api.asks import Asker
from api.doorbell import Doorbell
from api.hub import EventHub
from api.instruments import Instruments
from api.key_cache import KeyCache
from api.ledger import Ledger
from api.limits import Limiter
from jobs import idempotency
from jobs.idempotency import Answer
from jobs.settings import Settings
from jobs.store import Store

T = TypeVar("T")
_UPLOADS_AT_ONCE = 8


@dataclass(frozen=True)
class Context:
    """The parts of one API process."""

    settings: Settings
    store: Store
    doorbell: Doorbell
    instruments: Instruments
    hub: EventHub
    ledger: Ledger
    limiter: Limiter
    asker: Asker
    # Uploads write to the disk in threads of their own number, so that slow clients cannot use up everyone's.
    upload_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_UPLOADS_AT_ONCE))
    # No more threads than connections are at the database: others would only wait, for both and for the interpreter.
    database_threads: CapacityLimiter = field(init=False)
    keys: KeyCache = field(init=False)

    def __post_init__(self) -> None:
        """Count the threads by the settings; make what is made of the other parts."""
        object.__setattr__(self, "database_threads", CapacityLimiter(self.settings.database_pool))
        object.__setattr__(self, "keys", KeyCache(self.store))

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Call ``work``, which uses the database, in a thread: in as many at once as there are connections."""
        return await to_thread.run_sync(work, limiter=self.database_threads)

    async def collect(self, digests: Iterable[str]) -> None:
        """:meth:`jobs.store.Store.collect`, in a thread."""
        await self.in_thread(lambda: self.store.collect(digests))

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Call ``function`` with a connection for reading, in a thread; the connection is given back at once."""

        def work() -> T:
            with self.store.read() as connection:
                return function(connection)

        return await self.in_thread(work)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Call ``function`` in a transaction, in a thread; committed when this returns."""

        def work() -> T:
            with self.store.write() as connection:
                return function(connection)

        return await self.in_thread(work)

    async def once(
        self,
        create: Callable[[Connection], tuple[int, Any]],
        *,
        key_id: str,
        route: str,
        idempotency_key: str | None,
        request: bytes,
    ) -> Answer:
        """:func:`jobs.idempotency.once`, in a thread as :meth:`write`."""

        def work() -> Answer:
            return idempotency.once(
                self.store, create, key_id=key_id, route=route, idempotency_key=idempotency_key, request=request
            )

        return await self.in_thread(work)

    async def until(self, probe: Callable[[Connection], T | None], seconds: float) -> T | None:
        """Ask ``probe`` again and again until it gives something, ``seconds`` have passed or the process stops.

        No database connection is held in between.
        """
        deadline = time.monotonic() + seconds
        pause = 0.05
        while True:
            found = await self.read(probe)
            left = deadline - time.monotonic()
            if found is not None or left <= 0 or self.hub.closed:
                return found
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.5)


async def _context(request: Request) -> Context:  # a function that is not async would be called in a thread
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


AppContext = Annotated[Context, Depends(_context)]
