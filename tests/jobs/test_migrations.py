"""From the tables of before to those of now, with data in them, and while programs of before are still at work."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, insert, select, text

from benchmarks.service import place
from jobs import database, jobs, lease, models
from jobs.ids import new_id
from jobs.settings import Settings
from jobs.sqltypes import now
from jobs.states import JobState
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from tests.fixtures import render
from tests.jobs.helpers import spec

OLD = "job_01JD0000000000000000000001"
LATER = "job_01JD0000000000000000000002"
WHEN = "2026-01-02 03:04:05.000000+00:00"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database with the first tables."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if request.param == "postgresql":
        url = place.another(request.getfixturevalue("postgres_server"))
    made = database.connect(Settings(data_dir=tmp_path, database_url=url))
    database.upgrade(made, "0001")
    yield made
    made.dispose()


def _insert_as_before(engine: Engine, table: Table, job_id: str) -> None:
    """What a program that knows the first tables only writes."""
    with engine.begin() as connection:
        connection.execute(
            insert(table).values(
                id=job_id, state="queued", queue="auto", spec=spec(name="old").model_dump(mode="json"), lease_epoch=0,
                failures=0, next_seq=1, created_at=now(),
            )
        )  # fmt: skip


def test_jobs_of_before_are_there_and_run_after_the_upgrade(engine: Engine, tmp_path: Path) -> None:
    before = Table("jobs", MetaData(), autoload_with=engine)
    assert "ran_seconds" not in before.columns
    _insert_as_before(engine, before, OLD)
    database.upgrade(engine)
    _insert_as_before(engine, before, LATER)  # an API of before, that is replaced a little later
    database.upgrade(engine)  # once more is no harm

    url = render(engine.url)
    store = Store.open(Settings(data_dir=tmp_path, database_url=url))
    for job_id in (OLD, LATER):
        with store.write() as connection:
            job = lease.claim(connection, ["cpu"], "me", 60)
            assert job is not None
            assert (job.id, job.spec.name, job.ran_seconds, job.spec.priority) == (job_id, "old", 0, 0)
            lease.release(connection, job_id, 1, reason="drained")
        with store.write() as connection:
            jobs.request_cancel(connection, job_id)
    with store.read() as connection:
        assert jobs.counts(connection)[JobState.CANCELLED] == 2
        assert list(connection.scalars(select(text("version_num")).select_from(text("alembic_version")))) != ["0001"]
    store.close()


def test_models_of_jobs_that_ended_before_are_registered(engine: Engine, tmp_path: Path) -> None:
    database.upgrade(engine, "0006")
    tables = MetaData()
    tables.reflect(engine)
    job, blob, artifact = (tables.tables[name] for name in ("jobs", "blobs", "artifacts"))
    specs = {OLD: spec(name="old"), LATER: spec(initial_weights=OLD)}
    with engine.begin() as connection:
        for job_id, described in specs.items():
            connection.execute(
                insert(job).values(
                    id=job_id, name=described.name, state="succeeded", queue="auto", lease_epoch=1, failures=0,
                    spec=described.model_dump(mode="json"), record={"arithmetic": "integer"}, next_seq=1,
                    result={"classes": ["0", "1"], "validation_accuracy": 0.5}, created_at=now(), finished_at=now(),
                )
            )  # fmt: skip
            for kind in ("model", "weights"):
                sha256 = hashlib.sha256(f"{kind} {job_id}".encode()).hexdigest()
                connection.execute(insert(blob).values(sha256=sha256, size=5, created_at=now()))
                connection.execute(
                    insert(artifact).values(
                        id=new_id("art"), job_id=job_id, name=f"{kind}.safetensors", kind=kind, sha256=sha256, size=5,
                        epoch=1, details={"fp32_bytes": 80}, created_at=now(),
                    )
                )  # fmt: skip
    database.upgrade(engine)
    store = Store.open(Settings(data_dir=tmp_path, database_url=render(engine.url)))
    with store.read() as connection:
        child, parent = models.list_models(connection, organisation=DEFAULT_ORGANISATION).data
        assert (parent.job_id, parent.name, parent.parent_id) == (OLD, "old", None)
        assert (child.job_id, child.parent_id) == (LATER, parent.id)
        assert child.weights_sha256 == hashlib.sha256(f"weights {LATER}".encode()).hexdigest()
        assert (child.architecture, child.facts["classes"], child.facts["arithmetic"]) == (
            "resnet18",
            ["0", "1"],
            "integer",
        )
        assert f"`{LATER}`" in models.card(child)
    store.close()
