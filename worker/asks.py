"""Answers what the API asks (:mod:`jobs.asks`): one question at a time for each desk, in a warm child of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
import structlog
from redis.exceptions import RedisError

from jobs import asks
from jobs.asks import Desk
from jobs.store import Store
from worker.warm import MODEL_COMMAND, WarmChild

_log = structlog.stdlib.get_logger(__name__)

_LOOK_SECONDS = 1
_AWAY_SECONDS = 2.0


class Listener:
    """Takes the questions of one desk until ``draining`` is set; then the child ends with it."""

    def __init__(
        self, store: Store, draining: threading.Event, desk: Desk, command: Sequence[str] = MODEL_COMMAND
    ) -> None:
        self._settings = store.settings
        self._draining = draining
        self._desk = desk
        self._child = WarmChild(store, draining, desk, command)
        self._broker = redis.Redis.from_url(
            store.settings.broker_url.get_secret_value(),
            socket_connect_timeout=_AWAY_SECONDS,
            socket_timeout=_LOOK_SECONDS + 4,
        )

    def run(self) -> None:
        """Work until draining. A broker that is away for a while is no reason to end."""
        away = False
        used = time.monotonic()
        try:
            while not self._draining.is_set():
                try:
                    if self._look():
                        used = time.monotonic()
                    away = False
                except (RedisError, OSError) as error:
                    if not away:
                        _log.warning("the broker is away; nothing is answered", desk=self._desk, error=str(error))
                    away = True
                    self._draining.wait(_AWAY_SECONDS)
                if time.monotonic() - used > self._settings.predictor_idle_seconds:
                    self._child.close()
        finally:
            self._child.close()
            self._broker.close()

    def _look(self) -> bool:
        """Wait a moment for a question; ``True`` if one was answered."""
        found = self._broker.blpop([asks.list_name(self._desk)], timeout=_LOOK_SECONDS)
        if found is None:
            return False
        assert isinstance(found[1], bytes)
        identity = found[1].decode()
        frame = self._broker.getdel(asks.question_name(identity))
        if frame is None:  # its asker has given up
            return False
        answer = self._answer(frame)  # type: ignore[arg-type]
        with self._broker.pipeline() as pipe:
            pipe.rpush(asks.answer_name(identity), asks.encode(answer))
            pipe.expire(asks.answer_name(identity), asks.ANSWER_KEPT_SECONDS)
            pipe.execute()
        return True

    def _answer(self, frame: bytes) -> dict[str, Any]:
        begin = time.monotonic()
        answer: dict[str, Any] = {"ok": False, "code": "failed", "message": "the worker could not answer"}
        try:
            header, payload = asks.decode(frame)
            with contextlib.ExitStack() as stack:
                stack.enter_context(structlog.contextvars.bound_contextvars(request_id=header.get("request_id")))
                answer = self._child.answer(header, payload)
                _log.info(
                    "question answered",
                    desk=self._desk,
                    kind=header.get("kind"),
                    ok=answer["ok"],
                    code=answer.get("code"),
                    seconds=round(time.monotonic() - begin, 4),
                )
        except Exception:  # noqa: BLE001 - one question must not end the desk
            _log.exception("a question broke down", desk=self._desk)
        return answer
