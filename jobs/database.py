"""Opening the database, its transactions, and bringing its tables up to date.

SQLite and PostgreSQL are used the same way: :func:`write` begins a transaction that will write (``BEGIN IMMEDIATE`` on
SQLite, because its busy timeout does not help a transaction that reads first and then wants to write), :func:`read` one
that will not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Dialect, Engine, Table, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import InvalidatePoolError

from jobs.errors import UnsupportedDatabaseError
from jobs.settings import Settings

MIGRATION_LOCK = 0x6671745F6D696772  # "fqt_migr": the advisory lock that migrating processes queue for
_BUSY_SECONDS = 30
_WAL_RETRY_SECONDS = 0.01
_READ_ONLY = "fqt_read_only"
# A link that was cut without a word is noticed after ten seconds; by itself TCP waits for a quarter of an hour.
_KEEPALIVES = {"keepalives_idle": 4, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
_SHORTEST_IDLE_SECONDS = 1.0
_TRUSTED_SECONDS = 0.2
_SHORTEST_TRANSACTION_SECONDS = 10.0

Insert = sqlite.Insert | postgresql.Insert


def connect(settings: Settings) -> Engine:
    """Open the database of the settings. Nothing is created but the folder of a SQLite file.

    Raises:
        UnsupportedDatabaseError: the URL is for a database that is not supported.
    """
    url = make_url(settings.url)
    backend = url.get_backend_name()
    if backend == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UnsupportedDatabaseError(
                "database_url: a SQLite database needs a file, since several processes share it"
            )
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, pool_size=settings.database_pool)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if backend == "postgresql":
        engine = create_engine(
            url,
            pool_size=settings.database_pool,
            connect_args={"application_name": "fqt", "connect_timeout": 10, **_KEEPALIVES},
        )
        event.listen(engine, "connect", lambda connection, _record: _configure_postgresql(settings, connection))
        event.listen(engine, "checkin", lambda _connection, record: record.info.update(used=time.monotonic()))
        event.listen(engine, "checkout", partial(_check_idle, engine.dialect))
        return engine
    raise UnsupportedDatabaseError(f"database_url: {backend!r} is not supported; use sqlite:///… or postgresql://…")


def _configure_postgresql(settings: Settings, connection: Any) -> None:
    """Have the server end a session that stands still within a transaction.

    A process that was stopped there, or whose machine is gone, holds the lock of a job's row, and nobody could take the
    job back. The first limit works between statements only; the second, of PostgreSQL 17 and later, always.
    """
    limits = {"idle_in_transaction_session_timeout": max(_SHORTEST_IDLE_SECONDS, settings.lease_seconds / 3)}
    if connection.info.server_version >= 17_00_00:
        limits["transaction_timeout"] = max(_SHORTEST_TRANSACTION_SECONDS, settings.lease_seconds)
    for name, seconds in limits.items():
        connection.execute(f"SET {name} = {seconds * 1000:.0f}")
    connection.commit()


def _check_idle(dialect: Dialect, connection: Any, record: Any, _proxy: object) -> None:
    """Ask a connection that was not used just now whether it still is one (SQLAlchemy's own check asks every time)."""
    if time.monotonic() - record.info.get("used", time.monotonic()) < _TRUSTED_SECONDS:
        return
    try:
        dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error  # the pool opens a new one, and drops the others


def take_time(connection: Connection) -> None:
    """Let this transaction take as long as it needs: one that copies or changes whole tables."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        if (connection.dialect.server_version_info or (0,)) >= (17,):
            connection.execute(text("SET LOCAL transaction_timeout = 0"))


def place(settings: Settings) -> str:
    """Where the database is, for people: its URL without the password."""
    return make_url(settings.url).render_as_string(hide_password=True)


def has_tables(settings: Settings) -> bool:
    """Whether the database is there and has ever been migrated. Makes nothing.

    Raises:
        UnsupportedDatabaseError: see :func:`connect`.
        sqlalchemy.exc.SQLAlchemyError: the server does not answer.
    """
    url = make_url(settings.url)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
        return False
    engine = connect(settings)
    try:
        return inspect(engine).has_table("alembic_version")
    finally:
        engine.dispose()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where _begin_sqlite says, not where the driver thinks
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut, as on PostgreSQL
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Turn write-ahead logging on. The switch needs the file for itself, and SQLite does not wait for it there: of
    several processes that open a new file at once, all but one are refused at once, whatever the busy timeout is."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY_SECONDS)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """For reading: one view of the data on SQLite, on PostgreSQL one of each statement (:func:`snapshot` has one).

    PostgreSQL's statements stand alone, which saves the round trips that begin and end a transaction.
    """
    level = "AUTOCOMMIT" if engine.dialect.name == "postgresql" else None
    with _reading(engine, level) as connection:
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """One view for reading that does not change from its first statement on, however long it lasts."""
    level = "REPEATABLE READ" if engine.dialect.name == "postgresql" else None
    with _reading(engine, level) as connection:
        take_time(connection)
        yield connection


@contextmanager
def _reading(engine: Engine, isolation_level: str | None) -> Iterator[Connection]:
    options: dict[str, Any] = {_READ_ONLY: True}
    if isolation_level is not None:
        options["isolation_level"] = isolation_level
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """One transaction for writing: committed at the end, rolled back on an exception."""
    with engine.begin() as connection:
        yield connection


def insert(connection: Connection, table: Table) -> Insert:
    """The INSERT of the connection's dialect, which knows ``on_conflict_do_update`` on both databases."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> Insert:
    """The same by the dialect's name: for statements that are built once."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def is_up_to_date(connection: Connection) -> bool:
    """Whether the tables are those that this program knows."""
    head = ScriptDirectory.from_config(migrations()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head


def is_behind(connection: Connection) -> bool:
    """Whether the tables are older than this program. Newer ones are no fault: they suit it until it is replaced."""
    current = MigrationContext.configure(connection).get_current_revision()
    return current is None or current in _earlier_revisions()


@cache
def _earlier_revisions() -> frozenset[str]:
    script = ScriptDirectory.from_config(migrations())
    return frozenset(row.revision for row in script.walk_revisions()) - set(script.get_heads())


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Create the tables or bring them up to date. Safe when several processes do it at once: one works, others wait."""
    config = migrations()
    with engine.begin() as connection:
        take_time(connection)
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, revision)


def migrations() -> alembic.config.Config:
    """What Alembic's commands need; a connection may be handed over in its ``attributes``."""
    config = alembic.config.Config()
    config.set_main_option("script_location", "migrations:")
    return config
