"""Announces over the broker what a worker offers (:mod:`jobs.offers`), as long as it takes jobs."""

from __future__ import annotations

import os
import socket
import threading

import redis
import structlog
from redis.exceptions import RedisError

from jobs.offers import ANNOUNCED_SECONDS, Offer, announcement_name
from jobs.settings import Settings

_log = structlog.stdlib.get_logger(__name__)

_EVERY_SECONDS = ANNOUNCED_SECONDS / 3
_AWAY_SECONDS = 2.0


class Announcer:
    """Announces ``offer`` until ``draining`` is set, and takes it back then."""

    def __init__(self, settings: Settings, offer: Offer, draining: threading.Event) -> None:
        self._text = offer.to_json()
        self._draining = draining
        self._name = announcement_name(f"{socket.gethostname()}:{os.getpid()}")
        self._broker = redis.Redis.from_url(
            settings.broker_url.get_secret_value(), socket_connect_timeout=_AWAY_SECONDS, socket_timeout=_AWAY_SECONDS
        )

    def run(self) -> None:
        """Work until draining. A broker that is away for a while is no reason to end."""
        try:
            while not self._draining.is_set():
                try:
                    self._broker.set(self._name, self._text, ex=ANNOUNCED_SECONDS)
                except (RedisError, OSError) as error:
                    _log.debug("the broker is away; nothing is announced", error=str(error))
                    self._draining.wait(_AWAY_SECONDS)
                else:
                    self._draining.wait(_EVERY_SECONDS)
        finally:
            self._take_back()

    def _take_back(self) -> None:
        """A broker that is away forgets by itself."""
        try:
            self._broker.delete(self._name)
        except (RedisError, OSError) as error:
            _log.debug("the announcement was not taken back; it expires", error=str(error))
        self._broker.close()
