"""The embedded service: a broker, the API and one worker as children of this process, on one data folder."""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from jobs.blobs import BlobStore
from jobs.settings import Settings
from service import broker, ports
from service.errors import StartError, StopRequestedError
from service.first_key import first_key
from service.process import Child
from service.stopping import Say

PREFERRED_PORT = 8000
START_SECONDS = 60.0
POLL_SECONDS = 0.1
API_GRACE = 10.0
BROKER_GRACE = 5.0
WORKER_SLACK = 5.0


class EmbeddedService:
    """Starts, watches and stops the parts of a service. Use it from the main thread, and hold the data folder's lock.

    The database is what the settings name (SQLite in the data folder by default).

    Args:
        settings: as read from the environment.
        host: address to listen on.
        port: port to listen on; None: the preferred one if it is free, else any; 0: any.
        own_broker: start a Valkey server as a child; else use the broker that the settings name.
        say: told what is going on, one line at a time.
        stop: set from outside (a signal) to end a start that is under way.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        host: str,
        port: int | None,
        own_broker: bool,
        say: Say,
        stop: threading.Event | None = None,
    ) -> None:
        self.settings = settings
        self.host = host
        self.port = ports.choose(host, port, PREFERRED_PORT)
        self.api_key = ""
        self._own_broker = own_broker
        self._say = say
        self._stop = stop or threading.Event()
        self._children: list[Child] = []

    @property
    def url(self) -> str:
        """Base URL of the API as this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def pids(self) -> dict[str, int | None]:
        """Process ids of the parts that run now."""
        return {child.name: child.pid for child in self._children}

    def start(self) -> None:
        """Start everything and wait until a worker answers.

        Raises:
            StartError: a part ended or did not become ready; its last log lines are in the message.
            StopRequestedError: ``stop`` was set meanwhile.
        """
        self._say("Preparing the database")
        self.api_key = first_key(self.settings)
        # None of our processes runs yet: what is unfinished there was left by a crash.
        BlobStore(self.settings.blobs).sweep_incoming(older_than_seconds=0)
        environment = dict(os.environ) | {
            "FQT_DATA_DIR": str(self.settings.data_dir),
            "FQT_DATABASE_URL": self.settings.url,
            "FQT_BLOB_DIR": str(self.settings.blobs),
            "FQT_QUEUES": self.settings.queues,
            "FQT_SLOTS": str(self.settings.slots),
            "FQT_HOST": self.host,
            "FQT_PORT": str(self.port),
            "PYTHONUNBUFFERED": "1",
        }
        if self.settings.threads is not None:
            environment["FQT_THREADS"] = str(self.settings.threads)
        environment["FQT_BROKER_URL"] = self._start_broker(environment)
        self._say("Starting the API and a worker")
        # -P keeps the present folder out of the import path: a folder `api` of the user must not be run.
        self._launch("api", [sys.executable, "-P", "-m", "api"], environment)
        self._launch("worker", [sys.executable, "-P", "-m", "worker"], environment)
        self._wait("the API", lambda: (self._ready() or {}).get("status") == "ready")
        self._wait("the worker", lambda: (self._ready() or {}).get("worker") is True)

    def check(self) -> None:
        """Look after the parts: report one that has ended, and start it again, each time a little later."""
        for child in self._children:
            child.trim_log()
            if child.running:
                continue
            delay = child.restart_when_due()
            if delay is not None:
                self._say(f"The {child.name} {child.exit_status}; starting it again in {delay:g} s. Its last lines:")
                for line in child.last_lines():
                    self._say(f"  {line}")

    def stop(self, *, at_once: threading.Event | None = None) -> None:
        """Stop everything in order: the worker first, so that it can hand its jobs back; never raises.

        Args:
            at_once: when set meanwhile, everything is killed without more patience.
        """
        graces = {
            "worker": self.settings.stop_grace_seconds + self.settings.kill_grace_seconds + WORKER_SLACK,
            "api": API_GRACE,
            "broker": BROKER_GRACE,
        }
        for child in sorted(self._children, key=lambda child: list(graces).index(child.name)):
            deadline = time.monotonic() + graces[child.name]
            child.terminate()
            while child.running and time.monotonic() < deadline and not (at_once and at_once.is_set()):
                time.sleep(0.05)
            child.kill()
        self._children.clear()

    def _start_broker(self, environment: dict[str, str]) -> str:
        """Start a broker, or look whether the one of the settings is there; return its URL."""
        if not self._own_broker:
            address = self.settings.broker_url.get_secret_value()
            try:
                there = broker.answers(address)
            except ValueError as error:
                raise StartError(f"FQT_BROKER_URL is no URL of a Redis or Valkey server: {error}") from error
            if not there:
                raise StartError(
                    "the broker of FQT_BROKER_URL does not answer", remedy="start it, or unset that variable"
                )
            return address
        self._say("Starting the broker (Valkey)")
        password, port = secrets.token_hex(24), ports.any_free()
        address = broker.url(port, password)
        self._launch("broker", broker.command(), environment, given=broker.configuration(port, password))
        self._wait("the broker", lambda: broker.answers(address))
        return address

    def _launch(self, name: str, command: list[str], environment: dict[str, str], *, given: str | None = None) -> None:
        log = self.settings.data_dir / "logs" / f"{name}.log"
        child = Child(name, command, environment=environment, log=log, given=given)
        try:
            child.start()
        except OSError as error:
            raise StartError(f"the {name} cannot be started: {error}") from error
        self._children.append(child)

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if self._stop.wait(POLL_SECONDS):
                raise StopRequestedError
            for child in self._children:
                if not child.running:
                    lines = " / ".join(child.last_lines(3)) or "it wrote nothing"
                    raise StartError(f"the {child.name} {child.exit_status}: {lines}", remedy=f"see {child.log}")
            if time.monotonic() > deadline:
                logs = self.settings.data_dir / "logs"
                raise StartError(f"{what} was not ready within {START_SECONDS:g} s", remedy=f"see the logs in {logs}")

    def _ready(self) -> dict[str, Any] | None:
        """What /readyz says, whatever its status; None while nothing answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:  # noqa: S310 - our own URL
                body = reply.read()
        except urllib.error.HTTPError as refusal:
            body = refusal.read()
        except OSError:
            return None
        try:
            answer = json.loads(body)
        except ValueError:
            return None
        return answer if isinstance(answer, dict) else None
