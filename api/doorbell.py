"""Ringing the workers. A Celery message is only a doorbell: SQL is the queue, and a lost message is rung again.

Tasks are sent by name, so that nothing of the worker is imported here.
"""

from __future__ import annotations

import time
from typing import Protocol

import redis
import structlog
from celery import Celery
from redis.exceptions import RedisError

from api.instruments import Instruments
from jobs.offers import ANNOUNCEMENTS, Offer
from jobs.settings import Settings

RUN_TASK = "fqt.run"
INSPECT_TASK = "fqt.inspect"
INSPECT_QUEUE = "inspect"
# A message that no worker took within this time is dropped: the reaper has rung again by then.
_EXPIRES_SECONDS = 60.0
_CONNECT_SECONDS = 1.0
_PING_SECONDS = 0.5
_PING_KEPT_SECONDS = 2.0
log = structlog.get_logger("fqt.api.doorbell")


class Doorbell(Protocol):
    """What the API needs of the broker. None raises. The questions may block for about a second.

    Requests ring through an :class:`api.ringer.Ringer`, which never blocks.
    """

    def ring_job(self, job_id: str, queue: str) -> None:
        """Tell the workers of ``queue`` that a job waits."""
        ...

    def ring_dataset(self, dataset_id: str) -> None:
        """Ask a worker to look through a data set."""
        ...

    def broker_answers(self) -> bool:
        """Return whether the broker can be reached."""
        ...

    def worker_answers(self) -> bool:
        """Return whether any worker answers."""
        ...

    def offers(self) -> list[Offer] | None:
        """Return what the workers have announced; ``None`` if the broker cannot be asked."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class CeleryDoorbell:
    """Rings through the broker of the settings."""

    def __init__(self, settings: Settings, instruments: Instruments) -> None:
        self._celery = Celery("fqt", broker=settings.broker_url.get_secret_value(), set_as_current=False)
        self._celery.conf.update(
            task_serializer="json",
            accept_content=["json"],
            task_ignore_result=True,
            task_publish_retry=False,
            broker_connection_timeout=_CONNECT_SECONDS,
            broker_transport_options={
                "socket_connect_timeout": _CONNECT_SECONDS,
                "socket_timeout": 5.0,
                "retry_on_timeout": False,
                "max_retries": 0,
            },
        )
        self._announced = redis.Redis.from_url(
            settings.broker_url.get_secret_value(),
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_CONNECT_SECONDS,
        )
        self._instruments = instruments
        self._worker_seen = (0.0, False)

    def ring_job(self, job_id: str, queue: str) -> None:
        """Tell the workers of ``queue`` that a job waits."""
        self._send(RUN_TASK, queue, {"job_id": job_id})

    def ring_dataset(self, dataset_id: str) -> None:
        """Ask a worker to look through a data set."""
        self._send(INSPECT_TASK, INSPECT_QUEUE, {"dataset_id": dataset_id})

    def broker_answers(self) -> bool:
        """Return whether the broker can be reached."""
        try:
            with self._celery.connection_for_write() as connection:
                connection.default_channel  # noqa: B018 - opening it connects and pings
        except Exception as error:  # noqa: BLE001 - each transport has exceptions of its own
            log.warning("broker cannot be reached", error=str(error))
            return False
        return True

    def worker_answers(self) -> bool:
        """Return whether any worker answers; asked at most every two seconds."""
        asked, answer = self._worker_seen
        if time.monotonic() - asked < _PING_KEPT_SECONDS:
            return answer
        try:
            answer = bool(self._celery.control.ping(timeout=_PING_SECONDS, limit=1))
        except Exception as error:  # noqa: BLE001
            log.warning("workers cannot be asked", error=str(error))
            answer = False
        self._worker_seen = (time.monotonic(), answer)
        return answer

    def offers(self) -> list[Offer] | None:
        """Return what the workers have announced; ``None`` if the broker cannot be asked."""
        try:
            names = list(self._announced.scan_iter(ANNOUNCEMENTS, count=1000))
            found = self._announced.mget(names) if names else []
        except (RedisError, OSError) as error:
            log.warning("the broker cannot be asked for workers", error=str(error))
            return None
        return [Offer.from_json(text) for text in found if text is not None]

    def close(self) -> None:
        """Close the connections to the broker."""
        self._celery.close()
        self._announced.close()

    def _send(self, task: str, queue: str, arguments: dict[str, str]) -> None:
        try:
            self._celery.send_task(task, kwargs=arguments, queue=queue, expires=_EXPIRES_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, the job is in SQL and the reaper rings again
            log.warning("doorbell not rung; the reaper rings again", task=task, error=str(error), **arguments)
            self._instruments.doorbells.labels(task, "lost").inc()
        else:
            self._instruments.doorbells.labels(task, "sent").inc()
