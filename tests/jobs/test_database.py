from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import alembic.command
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect, select, text

from benchmarks.service import place
from jobs import database
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.store import Store
from jobs.tables import metadata
from tests.jobs.helpers import get, submit


def test_the_migrations_make_exactly_the_tables(store: Store) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        checks = {
            (name, check["name"])
            for name in metadata.tables
            for check in inspect(connection).get_check_constraints(name)
        }
    kept = ("jobs", "datasets", "webhook_deliveries", "sweeps", "trials")
    registry = {("models", "ck_models_source"), ("models", "ck_models_format")}
    assert checks == {(name, f"ck_{name}_state") for name in kept} | registry


def test_a_migration_can_be_undone_and_done_again_with_jobs_in_the_table(store: Store) -> None:
    job = submit(store)
    config = database.migrations()
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.downgrade(config, "0001")
        assert "teacher_sha256" not in {column["name"] for column in inspect(connection).get_columns("jobs")}
        alembic.command.upgrade(config, "head")
    assert get(store, job.id) == job


def test_two_processes_may_migrate_at_once(tmp_path: Path, postgres_server: str) -> None:
    for url in (f"sqlite:///{tmp_path / 'two.db'}", place.another(postgres_server)):
        engines = [database.connect(Settings(database_url=url)) for _ in range(4)]
        gate = threading.Barrier(len(engines))
        with ThreadPoolExecutor(len(engines)) as pool:
            list(pool.map(lambda engine, gate=gate: (gate.wait(), database.upgrade(engine)), engines))
        assert set(metadata.tables) <= set(inspect(engines[0]).get_table_names())
        for engine in engines:
            engine.dispose()


def test_many_may_open_a_new_sqlite_file_at_once(tmp_path: Path) -> None:
    for attempt in range(20):  # a race: without the wait it is lost in most runs of this test
        engines = [database.connect(Settings(database_url=f"sqlite:///{tmp_path / f'{attempt}.db'}")) for _ in range(8)]
        gate = threading.Barrier(len(engines))

        def open_and_write(engine: Engine, gate: threading.Barrier = gate) -> None:
            gate.wait()
            with database.write(engine) as connection:
                connection.execute(text("CREATE TABLE IF NOT EXISTS opened (by_whom INTEGER)"))
                connection.execute(text("INSERT INTO opened VALUES (1)"))

        with ThreadPoolExecutor(len(engines)) as pool:
            list(pool.map(open_and_write, engines))
        with database.read(engines[0]) as connection:
            assert connection.execute(text("SELECT count(*) FROM opened")).scalar_one() == len(engines)
        for engine in engines:
            engine.dispose()


def test_a_writing_transaction_locks_sqlite_from_its_beginning(tmp_path: Path) -> None:
    store = Store.open(Settings(data_dir=tmp_path), migrate=True)
    order: list[str] = []
    with store.write() as connection:
        connection.execute(text("SELECT 1"))  # a transaction that reads first, and would otherwise fail to upgrade
        other = threading.Thread(target=lambda: _note(store, order))
        other.start()
        other.join(0.2)
        assert order == []
        with store.read() as reader:  # readers are not held up
            reader.execute(text("SELECT count(*) FROM jobs"))
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    store.close()


def _note(store: Store, order: list[str]) -> None:
    with store.write():
        order.append("second")


def test_sqlite_keeps_foreign_keys_and_survives_power_loss(tmp_path: Path) -> None:
    store = Store.open(Settings(data_dir=tmp_path), migrate=True)
    with store.read() as connection:
        pragmas = {name: connection.execute(text(f"PRAGMA {name}")).scalar() for name in _PRAGMAS}
    assert pragmas == _PRAGMAS
    store.close()


_PRAGMAS = {"foreign_keys": 1, "journal_mode": "wal", "synchronous": 2}


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/name"])
def test_a_database_that_cannot_serve_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="database_url"):
        database.connect(Settings(database_url=url))


def test_the_database_clock_has_an_offset_and_microseconds(store: Store) -> None:
    with store.read() as connection:
        here, later, before = connection.execute(select(now(), now(90.5), now(-3600))).one()
    assert 90.4 < (later - here).total_seconds() < 90.6
    assert 3599.9 < (here - before).total_seconds() < 3600.1
    assert here.utcoffset() is not None
