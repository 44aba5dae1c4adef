"""Tables and trees over HTTP: what is refused at the door, dry runs, and rows that a model of trees predicts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fqt_client import Client, InvalidRequestError
from fqt_client.cli.table_rows import read_rows
from fqt_core.config.tree_methods import Gbdt
from fqt_core.trees.model import TreeModel, save_trees
from fqt_core.trees.trainer import grow
from jobs import blob_rows, models
from jobs.ids import new_id
from jobs.tables import DEFAULT_ORGANISATION
from tests.fqt_core.trees.tables import problem, shops
from tests.jobs.helpers import ready_dataset
from tests.jobs.test_tabular import COLUMNS

from .registry import Bridge, Registry, registry

ROWS: list[dict[str, Any]] = [{"size": 2.0, "town": "town 4", "open": True}, {"size": -2, "town": None}]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Registry]:
    with registry(tmp_path_factory.mktemp("trees"), valkey_url) as made:
        yield made


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shops(tmp_path_factory.mktemp("table") / "shops.csv", 200)


def registered(service: Registry, table: Path, folder: Path, target: str) -> tuple[str, TreeModel]:
    posed = problem(table, target)
    grown = grow(posed, Gbdt(iterations=5), seed=1, threads=1, report=lambda _: None)
    assert grown is not None
    path = folder / "model.txt"
    save_trees(path, grown.model, posed)
    blob = service.store.blobs.put_file(path)
    columns = [column.model_dump(include={"name", "kind"}) for column in posed.columns]
    facts = {"architecture": {"name": "trees", "target": target, "objective": posed.objective, "columns": columns}}
    with service.store.write() as connection:
        blob_rows.register(connection, service.store.blobs, blob)
        row = models.add(
            connection,
            {
                **{"id": new_id("mdl"), "organisation_id": DEFAULT_ORGANISATION, "source": "job", "format": "trees"},
                **{"architecture": "trees", "method": "gbdt", "sha256": blob.sha256, "size": blob.size},
                "facts": facts | {"classes": list(posed.classes) or None},
            },
        )
    return row.id, TreeModel.load(path)


def test_rows_are_predicted_as_by_the_library(service: Registry, table: Path, tmp_path: Path) -> None:
    model_id, model = registered(service, table, tmp_path, "grade")
    url = f"/v1/models/{model_id}"
    answer = service.client.post(f"{url}/predict", json={"rows": ROWS, "top_k": 2})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == model.predict(ROWS, top=2)
    assert service.client.get(url).json()["format"] == "trees"
    file = service.client.get(f"{url}/file")
    assert (file.content, f'filename="{model_id}.txt"' in file.headers["content-disposition"]) == (
        (tmp_path / "model.txt").read_bytes(),
        True,
    )
    for body, field in (
        ({"rows": [{}, {"town": 4}]}, "rows.1.town"),
        ({"rows": [{"weight": 4}]}, "rows.0.weight"),
        ({"rows": []}, "rows"),
        ({"rows": [{"town": ["a"]}]}, "rows.0.town.float"),
        ({"images": ["AAAA"]}, "images"),
    ):
        refused = service.client.post(f"{url}/predict", json=body)
        assert refused.status_code == 422, refused.text
        assert field in {error["field"] for error in refused.json()["errors"]}
    assert service.client.post(f"{url}/predict", files={"image": b"x"}).status_code == 415
    for method, path in (("GET", "layers"), ("POST", "exports")):
        refused = service.client.request(method, f"{url}/{path}", json={"format": "onnx"})
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "model_not_usable")
    value_id, regression = registered(service, table, tmp_path, "price")
    with Client(
        "http://localhost", service.client.headers["Authorization"].split()[1], http=Bridge(service.client)
    ) as client:
        found = client.models.predict_rows(value_id, ROWS)
        assert [row.value for row in found] == [row["value"] for row in regression.predict(ROWS)]
        with pytest.raises(InvalidRequestError, match="holds numbers"):
            client.models.predict_rows(value_id, [{"size": "big"}])
        listed = client.models.get(model_id)
        rows = read_rows(table, listed)
        assert client.models.predict_rows(model_id, rows)[0].label == model.predict(rows[:1])[0]["label"]
        assert set(rows[0]) == {"size", "town", "open"}


def test_a_wrong_spec_is_refused_with_every_field(service: Registry) -> None:
    dataset = ready_dataset(service.store, {}, format="csv", table={"rows": 100, "columns": COLUMNS})
    shown = service.client.get(f"/v1/datasets/{dataset}").json()
    assert shown["profile"]["table"]["columns"][1]["values"] == [
        {"value": "good", "count": 60},
        {"value": "poor", "count": 30},
    ]
    spec = {"task": "tabular", "dataset": dataset, "table": {"target": "grade"}}
    plan = service.client.post("/v1/jobs?dry_run=true", json=spec).json()
    assert (plan["train_images"], plan["validation_images"], plan["steps"]) == (72, 18, 100)
    assert plan["spec"]["architecture"] is None
    wrong = spec | {
        "architecture": {"name": "resnet18"},
        "method": {"name": "gbdt", "bagging_fraction": 0.5, "feature_fraction": 0.5},
        "table": {"target": "greed"},
    }
    refused = service.client.post("/v1/jobs", json=wrong)
    assert refused.status_code == 422
    told = {error["field"]: error["message"] for error in refused.json()["errors"]}
    assert told.keys() >= {"architecture", "method.bagging_fraction", "method.feature_fraction"}
    assert "7397" in told["method.bagging_fraction"]
    refused = service.client.post("/v1/jobs", json=spec | {"table": {"target": "greed"}, "training": {"epochs": 3}})
    assert {error["field"] for error in refused.json()["errors"]} == {"table.target", "training.epochs"}
    names = {row["name"]: row["task"] for row in service.client.get("/v1/methods").json()["data"]}
    assert [name for name, task in names.items() if task == "tabular"] == ["gbdt"]
    search = {"space": {"method.learning_rate": {"type": "choice", "values": [0.05, 0.2]}}, "algorithm": "grid"}
    sweep = service.client.post("/v1/sweeps?dry_run=true", json=search | {"base": spec})
    assert sweep.status_code == 200, sweep.text
    regression = search | {"base": spec | {"table": {"target": "size"}}}
    refused = service.client.post("/v1/sweeps?dry_run=true", json=regression)
    assert [error["field"] for error in refused.json()["errors"]] == ["metric"]
    assert (
        service.client.post("/v1/sweeps?dry_run=true", json=regression | {"metric": "validation_loss"}).status_code
        == 200
    )
