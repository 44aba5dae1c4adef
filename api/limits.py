"""How often one key, and one address, may ask: counted in the service's broker, for all API processes together.

While the broker is away each process counts for itself. Windows slide, so that no burst fits around the end of one.
"""

from __future__ import annotations

import hashlib
import math
import time
from typing import Literal, TypeAlias

import structlog
from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.address import network_of
from api.instruments import Instruments
from api.problems import RateLimited, respond
from jobs.settings import Settings

Kind: TypeAlias = Literal["key", "address", "failures"]
_BROKER_SECONDS = 0.25
_AWAY_SECONDS = 5.0
_FREE_PATHS = frozenset({"/healthz"})  # whoever asks whether the process lives must not be told to wait
log = structlog.get_logger("fqt.api.limits")


class Limiter:
    """The limits of the settings."""

    def __init__(self, settings: Settings, instruments: Instruments, secret: bytes) -> None:
        self._items: dict[Kind, RateLimitItem | None] = {
            "key": _item(settings.rate_limit_key),
            "address": _item(settings.rate_limit_address),
            "failures": _item(settings.rate_limit_failures),
        }
        self._instruments = instruments
        self._url = settings.broker_url.get_secret_value()
        # Services that share a broker do not count for each other.
        self._prefix = f"fqt-limits-{hashlib.sha256(b'limits' + secret).hexdigest()[:12]}"
        self._pool = ConnectionPool.from_url(
            self._url,
            socket_timeout=_BROKER_SECONDS,
            socket_connect_timeout=_BROKER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._shared: RedisStorage | None = None
        self._memory = MemoryStorage()
        self._away_until = 0.0
        self._away = False

    async def hit(self, kind: Kind, identity: str) -> None:
        """Count one request.

        Raises:
            RateLimited: it is one too many.
        """
        item = self._items[kind]
        if item is None:
            return
        if time.monotonic() >= self._away_until:
            try:
                await self._hit(self._broker(), item, kind, identity)
            except (StorageError, OSError) as error:
                self._lose(error)
            else:
                self._find()
                return
        await self._hit(self._memory, item, kind, identity)

    async def close(self) -> None:
        """Give back the connections to the broker."""
        if self._shared is not None:
            await self._pool.aclose()
            self._shared = None

    async def _hit(self, storage: RedisStorage | MemoryStorage, item: RateLimitItem, kind: Kind, identity: str) -> None:
        limiter = SlidingWindowCounterRateLimiter(storage)
        if await limiter.hit(item, kind, identity):
            return
        window = await limiter.get_window_stats(item, kind, identity)
        self._instruments.limited.labels(kind).inc()
        wait = max(1, math.ceil(window.reset_time - time.time()))
        raise RateLimited(
            f"More than {item} from this {_NAMES[kind]}; try again in {wait} s.",
            headers={
                "Retry-After": str(wait),
                "RateLimit-Policy": f'"{kind}";q={item.amount};w={item.get_expiry()}',
                "RateLimit": f'"{kind}";r={window.remaining};t={wait}',
            },
        )

    def _broker(self) -> RedisStorage:
        if self._shared is None:  # made where the event loop runs that its connections belong to
            self._shared = RedisStorage(
                f"async+{self._url}",
                wrap_exceptions=True,
                implementation="redispy",
                key_prefix=self._prefix,
                connection_pool=self._pool,  # type: ignore[arg-type]  # the annotation forgets it
            )
        return self._shared

    def _lose(self, error: Exception) -> None:
        self._away_until = time.monotonic() + _AWAY_SECONDS
        if not self._away:
            self._away = True
            log.warning("the broker does not answer: rate limits are counted per process for now", error=str(error))

    def _find(self) -> None:
        if self._away:
            self._away = False
            log.info("the broker answers again: rate limits are counted for all processes together")


class AddressLimitMiddleware:
    """Refuses addresses that ask too often, before anything is looked up for them."""

    def __init__(self, app: ASGIApp, limiter: Limiter) -> None:
        self.app = app
        self.limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or answer 429."""
        if scope["type"] == "http" and scope["path"] not in _FREE_PATHS:
            try:
                await self.limiter.hit("address", network_of(scope["fqt.address"]))
            except RateLimited as problem:
                await respond(Request(scope), problem)(scope, receive, send)
                return
        await self.app(scope, receive, send)


_NAMES: dict[Kind, str] = {
    "key": "API key",
    "address": "address",
    "failures": "address with an API key that does not exist",
}


def _item(text: str) -> RateLimitItem | None:
    return None if text == "off" else parse(text)
