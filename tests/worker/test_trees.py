"""Jobs on tables: from an upload to trees, by the real inspection and child; resumed to the same bits."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import lightgbm
import pytest

from fqt_core.trees.model import TreeModel
from jobs import artifacts, datasets, jobs, metrics, models
from jobs.records import Job
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from tests.fqt_core.trees.tables import shops
from tests.jobs.helpers import get
from tests.worker.helpers import QUICK, log, step, until
from worker.inspection import Inspector
from worker.slots import Slots
from worker.supervisor import TRAINING_COMMAND


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", **(QUICK | {"lease_seconds": 60, "heartbeat_seconds": 2}))


def upload(store: Store, content: bytes) -> str:
    blob = store.blobs.put_stream([content])
    with store.write() as connection:
        dataset = datasets.create(connection, store.blobs, blob, name="shops")
    assert Inspector(store, threading.Event()).run(dataset.id)
    return dataset.id


def tabular(store: Store, dataset: str, **changes: Any) -> Job:
    spec = {
        "task": "tabular",
        "dataset": dataset,
        "table": {"target": "grade", "ignore": ["price"]},
        "method": {"name": "gbdt", "iterations": 60},
        "training": {"seed": 3},
    }
    with store.write() as connection:
        return jobs.create(connection, JobSpec.model_validate(spec | changes))


def files(store: Store, job_id: str) -> dict[str, tuple[str, str]]:
    with store.read() as connection:
        return {row.name: (row.kind, row.sha256) for row in artifacts.list_artifacts(connection, job_id)}


def test_a_table_is_profiled_and_trees_are_grown_compared_registered_and_resumed(store: Store, tmp_path: Path) -> None:
    content = shops(tmp_path / "shops.csv", 3000).read_bytes()
    dataset = upload(store, content)
    with store.read() as connection:
        row = datasets.get(connection, dataset)
    assert (row.state, row.format) == ("ready", "csv"), row.error
    assert row.profile is not None
    assert row.profile["table"]["rows"] == 3000
    whole = tabular(store, dataset)
    Slots(store, threading.Event(), TRAINING_COMMAND).work()
    done = get(store, whole.id)
    assert done.state == "succeeded", done.error
    assert done.result is not None
    assert done.record is not None
    assert (done.record["arithmetic"], done.record["isa"], done.record["device"]) == ("integer", "lightgbm", "cpu")
    assert done.result["classes"] == ["fair", "good", "poor"]
    compared = done.result["tabular"]
    assert compared["kept"]["iterations"] == compared["full_precision"]["iterations"] == 60
    assert done.result["validation_accuracy"] == compared["kept"]["validation_accuracy"] > 0.85
    found = files(store, whole.id)
    assert {name: kind for name, (kind, _) in found.items()} == {
        "model.txt": "model",
        "full-precision.txt": "reference",
        "report.json": "report",
        "card.md": "card",
    }
    with store.read() as connection:
        curves = {(curve.kind, curve.name): curve for curve in metrics.series(connection, whole.id)}
        (listed,) = models.list_models(connection, organisation=DEFAULT_ORGANISATION).data
        model = models.get(connection, listed.id, organisation=DEFAULT_ORGANISATION)
    for kind in ("epoch", "full_precision"):
        assert curves[kind, "validation_loss"].steps == list(range(1, 61))
    assert (model.format, model.architecture, model.method) == ("trees", "trees", "gbdt")
    path = store.blobs.local(model.sha256)
    assert TreeModel.load(path).facts.target == "grade"
    assert lightgbm.Booster(model_file=str(path)).num_trees() == 3 * done.result["best_epoch"]
    card = models.card(model)
    assert store.blobs.local(found["card.md"][1]).read_text() == card
    assert "quantised (this model)" in card
    assert f"of {done.result['validation_images']} validation rows" in card
    assert "town (category)" in card
    report = json.loads(store.blobs.local(found["report.json"][1]).read_text())
    assert report["result"]["tabular"] == compared

    draining = threading.Event()
    broken_off = tabular(store, dataset)
    thread = threading.Thread(target=Slots(store, draining, TRAINING_COMMAND).work)
    thread.start()
    until(lambda: step(store, broken_off.id) >= 20, 60)
    draining.set()
    thread.join(60)
    assert get(store, broken_off.id).state == "queued"
    Slots(store, threading.Event(), TRAINING_COMMAND).work()
    assert get(store, broken_off.id).state == "succeeded"
    started = [event.data["message"] for event in log(store, broken_off.id) if "started" in event.data]
    assert started[0].startswith("growing trees from 2399 rows")
    assert "60 steps, from step 0 (arithmetic integer" in started[0]
    assert len(started) == 2
    assert "from step 0 " not in started[1]
    again = files(store, broken_off.id)
    assert {name: again[name] for name in ("model.txt", "full-precision.txt")} == {
        name: found[name] for name in ("model.txt", "full-precision.txt")
    }


def test_hostile_tables_are_refused_by_the_inspection(store: Store) -> None:
    for content, words in ((b"a,b\n1\n", "line 2"), (b"PAR1" + b"\x00" * 99 + b"PAR1", "cannot be read")):
        with store.read() as connection:
            row = datasets.get(connection, upload(store, content))
        assert row.state == "invalid"
        assert row.error is not None
        assert words in json.dumps(row.error["faults"])
