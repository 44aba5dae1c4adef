"""Specs of jobs on tables: what means nothing for trees is refused by name, with everything else that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from jobs import datasets, jobs, plan, validation
from jobs.errors import InvalidSpecError
from jobs.spec import JobSpec
from jobs.store import Store
from jobs.tables import jobs as job_table
from jobs.validation import Bounds

from .helpers import ready_dataset

COLUMNS: list[dict[str, Any]] = [
    {"name": "size", "kind": "number", "missing": 0, "distinct": 90, "whole": False, "values": None},
    {
        "name": "grade",
        "kind": "category",
        "missing": 10,
        "distinct": 2,
        "whole": True,
        "values": [{"value": "good", "count": 60}, {"value": "poor", "count": 30}],
    },
    {"name": "id", "kind": "number", "missing": 0, "distinct": 101, "whole": True, "values": None},
    {"name": "day", "kind": "skipped", "reason": "it holds days"},
]


@pytest.fixture
def table(store: Store) -> str:
    return ready_dataset(store, {}, format="csv", table={"rows": 100, "columns": COLUMNS})


def spec(dataset: str, /, **changes: Any) -> JobSpec:
    base = {"task": "tabular", "dataset": dataset, "table": {"target": "grade"}}
    return JobSpec.model_validate(base | changes)


def faults(store: Store, asked: JobSpec, bounds: Bounds = validation.UNBOUNDED) -> dict[str, str]:
    with store.write() as connection, pytest.raises(InvalidSpecError) as caught:
        jobs.create(connection, asked, bounds=bounds)
    return {fault.field: fault.message for fault in caught.value.errors}


def test_a_job_on_a_table_is_planned_and_accepted(store: Store, table: str) -> None:
    asked = spec(table, training={"validation_fraction": 0.5, "seed": 5, "early_stopping_patience": 3})
    assert (asked.method.name, asked.architecture, asked.learner) == ("gbdt", None, "trees")
    assert JobSpec.model_validate(asked.model_dump(mode="json")) == asked
    with store.write() as connection:
        told = plan.plan(connection, asked)
        job = jobs.create(connection, asked)
    assert (told.classes, told.train_images, told.validation_images) == (["good", "poor"], 45, 45)
    assert (told.steps, told.arithmetic, told.presets) == (100, "integer", [])
    assert told.memory_bytes > 200 * 2**20
    assert job.dataset_sha256 is not None
    with store.write() as connection:
        values = plan.plan(connection, spec(table, table={"target": "size"}))
    assert (values.classes, values.train_images, values.validation_images) == ([], 80, 20)


def test_every_field_that_means_nothing_for_trees_is_named(store: Store, table: str) -> None:
    images = ready_dataset(store, {"a": 20, "b": 20})
    found = faults(
        store,
        spec(
            table,
            classes=["good", "poor"],
            teacher="job_01JD0000000000000000000001",
            initial_weights="job_01JD0000000000000000000001",
            method={"name": "qat"},
            device="cuda",
            checkpoints={"keep_best": True},
            training={"epochs": 3, "batch_size": 7, "augment": {"pad_crop": 2}, "checkpoint_every_steps": 5},
            table={"target": "greed", "ignore": ["size", "none"]},
        ),
    )
    assert found.keys() == {
        *("classes", "teacher", "initial_weights", "method.name", "device", "training.epochs", "training.batch_size"),
        *(
            "training.augment",
            "training.checkpoint_every_steps",
            "checkpoints.keep_best",
            "table.target",
            "table.ignore.1",
        ),
    }
    assert "method.iterations" in found["training.epochs"]
    with pytest.raises(ValueError, match="trees have no network"):
        spec(table, architecture={"name": "resnet18"})
    with pytest.raises(ValueError, match="a job on images trains a network"):
        JobSpec.model_validate({"dataset": "digits", "architecture": None})
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"table": None}, "table", "say which column"),
        ({"table": {"target": "day"}}, "table.target", "it holds days"),
        ({"table": {"target": "grade", "objective": "regression"}}, "table.objective", "needs a target of numbers"),
        ({"table": {"target": "id", "objective": "classification"}}, "table.target", "at most 100 classes"),
        ({"table": {"target": "grade", "ignore": ["size", "id"]}}, "table.ignore", "no column to learn from"),
        ({"dataset": images}, "dataset", "holds images"),
        ({"dataset": "digits"}, "dataset", "holds images"),
        ({"task": "images", "table": None}, "dataset", "is a table"),
        ({"task": "images", "dataset": "digits"}, "table", "is for task 'tabular'"),
        (
            {"task": "images", "dataset": "digits", "table": None, "method": {"name": "gbdt"}},
            "method.name",
            "grows trees",
        ),
    ]
    for changes, field, words in cases:
        found = faults(store, spec(table, **changes))
        assert found.keys() == {field}, (changes, found)
        assert words in found[field]


def test_ceilings_count_both_runs(store: Store, table: str) -> None:
    bounds = Bounds(max_steps=150, max_memory_bytes=2**20)
    found = faults(store, spec(table), bounds)
    assert found.keys() == {"method.iterations", "dataset"}
    alone = spec(table, method={"name": "gbdt", "compare": False})
    with store.write() as connection:
        jobs.create(connection, alone, bounds=Bounds(max_steps=150))


def test_what_grew_trees_is_no_start_for_a_network(store: Store, table: str) -> None:
    with store.write() as connection:
        job = jobs.create(connection, spec(table))
        connection.execute(update(job_table).where(job_table.c.id == job.id).values(state="succeeded"))
    for field in ("initial_weights", "teacher"):
        found = faults(store, JobSpec.model_validate({"dataset": "digits", field: job.id}))
        assert found == {field: "that job grew trees, which no network learns from"}


def test_the_same_table_again_is_ready_at_once(store: Store, table: str) -> None:
    with store.write() as connection:
        first = datasets.get(connection, table)
        again = datasets.create(connection, store.blobs, store.blobs.put_stream([repr({}).encode()]), name="again")
    assert (again.state, again.sha256, again.profile) == ("ready", first.sha256, first.profile)
