"""Asking a worker and waiting for its answer, never longer than was said (see :mod:`jobs.asks`)."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

import redis.asyncio
import structlog
from anyio import to_thread
from redis.exceptions import RedisError

from api.doorbell import Doorbell
from api.problems import DeadlineExceeded, NoWorker, Unavailable
from jobs import asks
from jobs.asks import Desk
from jobs.settings import Settings

_CONNECT_SECONDS = 1.0
_LOOK_SECONDS = 1.0
_AT_ONCE = 16
log = structlog.get_logger("fqt.api.asks")


class Asker:
    """The questions of one API process. As many at a time as leave the broker room; more wait their turn."""

    def __init__(self, settings: Settings, doorbell: Doorbell) -> None:
        self._broker = redis.asyncio.Redis.from_url(
            settings.broker_url.get_secret_value(),
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_LOOK_SECONDS + 4,
        )
        self._doorbell = doorbell
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def ask(
        self, desk: Desk, header: dict[str, Any], payload: Sequence[bytes] = (), *, seconds: float
    ) -> dict[str, Any]:
        """Ask, and return the answer's header: ``ok``, and ``code`` and ``message`` where that is false.

        Raises:
            NoWorker: none is there.
            DeadlineExceeded: ``seconds`` have passed. A worker may be busy, or have died with the question.
            Unavailable: the broker cannot be reached.
        """
        deadline = time.monotonic() + seconds
        identity = secrets.token_hex(16)
        try:
            async with asyncio.timeout(seconds), self._room:
                return await self._ask(desk, identity, asks.encode(header, payload), deadline)
        except TimeoutError:
            raise DeadlineExceeded(f"No answer came within {seconds:g} seconds; try again in a moment.") from None
        except (RedisError, OSError) as error:
            log.warning("the broker cannot be asked", error=str(error))
            raise Unavailable("The broker cannot be reached; try again in a moment.") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._broker.aclose()

    async def _ask(self, desk: Desk, identity: str, frame: bytes, deadline: float) -> dict[str, Any]:
        lasts = max(1, round((deadline - time.monotonic()) * 1000))
        answered = False
        try:
            async with self._broker.pipeline() as pipe:
                pipe.set(asks.question_name(identity), frame, px=lasts)
                pipe.rpush(asks.list_name(desk), identity)
                await pipe.execute()
            while True:
                found = await self._broker.blpop([asks.answer_name(identity)], timeout=_LOOK_SECONDS)
                if found is not None:
                    answered = True
                    assert isinstance(found[1], bytes)
                    return asks.decode(found[1])[0]
                if not await to_thread.run_sync(self._doorbell.worker_answers):
                    raise NoWorker
        finally:
            if not answered:
                await asyncio.shield(self._withdraw(desk, identity))

    async def _withdraw(self, desk: Desk, identity: str) -> None:
        """Take a question back. If that fails, it expires by itself."""
        try:
            async with self._broker.pipeline() as pipe:
                pipe.delete(asks.question_name(identity), asks.answer_name(identity))
                pipe.lrem(asks.list_name(desk), 0, identity)
                await pipe.execute()
        except (RedisError, OSError) as error:
            log.warning("a question could not be taken back; it expires", error=str(error))
