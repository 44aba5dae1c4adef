"""Sweeps over HTTP: what is refused before anything is created, and what is shown of one that goes on."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from jobs.store import Store
from jobs.sweep_driver import SweepDriver
from jobs.tables import jobs, sweeps
from tests.api.conftest import Attempt, key_with
from tests.jobs import sweep_world as world
from tests.jobs.helpers import TINY

_RATE = "training.learning_rate"
BODY: dict[str, Any] = {
    "base": TINY,
    "space": {_RATE: {"type": "log_uniform", "low": 1e-4, "high": 1.0}},
    "algorithm": "random",
    "max_jobs": 3,
    "parallel": 2,
}


def _rows(store: Store, table: Any) -> int:
    with store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _create(client: TestClient, **changes: Any) -> dict[str, Any]:
    response = client.post("/v1/sweeps", json=BODY | changes)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v1/sweeps/{response.json()['id']}"
    found = response.json()
    assert isinstance(found, dict)
    return found


# What is wrong, the field that is named, and a part of what is said of it.
_WRONG: list[tuple[dict[str, Any], str, str]] = [
    (
        {"space": {"training.learnin_rate": {"type": "choice", "values": [1]}}},
        "space.training.learnin_rate",
        "mean",
    ),
    ({"space": {"training.seed.x": {"type": "choice", "values": [1]}}}, "space.training.seed.x", "integer"),
    (
        {"space": {"method.overrides.3.bits": {"type": "choice", "values": [1]}}},
        "space.method.overrides.3.bits",
        "",
    ),
    ({"space": {_RATE: {"type": "uniform", "low": 0.1, "high": 11}}}, f"space.{_RATE}", "10"),
    ({"space": {_RATE: {"type": "uniform", "low": 2, "high": 1}}}, f"space.{_RATE}.high", "less than low"),
    ({"space": {_RATE: {"type": "log_uniform", "low": 0, "high": 1}}}, f"space.{_RATE}.low", "greater than 0"),
    ({"seed": True}, "seed", "integer"),
    ({"space": {_RATE: {"type": "uniform", "low": "0.1", "high": 1}}}, f"space.{_RATE}.low", "number"),
    ({"space": {_RATE: {"type": "normal"}}}, f"space.{_RATE}.type", "normal"),
    ({"space": {"Rate": {"type": "choice", "values": [1]}}}, "space.Rate", "match"),
    ({"space": {"name": {"type": "choice", "values": ["x"]}}}, "space.name", "named"),
    ({"space": {"method.bits": {"type": "choice", "values": [4, 99]}}}, "space.method.bits", ""),
    ({"space": {"method.name": {"type": "choice", "values": ["fqt", "no"]}}}, "space.method.name", "unknown name"),
    (
        {"space": {"training": {"type": "choice", "values": [{}]}, _RATE: {"type": "choice", "values": [1]}}},
        f"space.{_RATE}",
        "holds this field",
    ),
    (
        {"space": {"training.warmup_steps": {"type": "int", "low": 0, "high": 99999}}},
        "space.training.warmup_steps",
        "",
    ),
    ({"space": {}}, "space", "at least 1"),
    ({"algorithm": "grid"}, f"space.{_RATE}", "counted"),
    (
        {
            "algorithm": "grid",
            "max_jobs": None,
            "space": {"training.seed": {"type": "int", "low": 0, "high": 5000}},
        },
        "max_jobs",
        "1000",
    ),
    ({"base": {**TINY, "dataset": "ds_" + "0" * 26}}, "base.dataset", "no data set"),
    ({"base": {}}, "base.dataset", "required"),
    ({"base": {**TINY, "training": {"validation_fraction": 0}}}, "metric", "no validation images"),
    (
        {
            "base": {**TINY, "architecture": {"name": "convnet"}, "method": {"name": "qat"}, "search": {}},
            "space": {"search.threshold": {"type": "choice", "values": [0.2, 0.4]}},
        },
        "metric",
        "a structure search validates nothing",
    ),
    ({"max_jobs": 0}, "max_jobs", "greater"),
    ({"direction": "up"}, "direction", "maximize"),
    ({"pruning": {"name": "early"}}, "pruning.name", "median"),
    ({"spaces": {}}, "spaces", "did you mean 'space'"),
]


def test_every_wrong_field_is_named_and_nothing_is_created(client: TestClient, store: Store) -> None:
    for changes, field, says in _WRONG:
        for dry_run in ("true", "false"):
            response = client.post("/v1/sweeps", json=BODY | changes, params={"dry_run": dry_run})
            assert response.status_code == 422, response.text
            errors = {error["field"]: error["message"] for error in response.json()["errors"]}
            assert field in errors, errors
            assert says in errors[field], errors
    assert _rows(store, sweeps) == _rows(store, jobs) == 0


def test_a_dry_run_tells_jobs_and_time(client: TestClient, store: Store) -> None:
    space = {
        _RATE: {"type": "choice", "values": [0.1, 0.2, 0.3]},
        "training.epochs": {"type": "int", "low": 1, "high": 4},
    }
    body = BODY | {"space": space, "algorithm": "grid", "max_jobs": None}
    planned = client.post("/v1/sweeps", json=body, params={"dry_run": "true"}).json()
    assert (planned["jobs"], planned["checked"], planned["seconds"]) == (12, 6, None)
    assert "no job with this architecture" in planned["seconds_reason"]
    done = client.post("/v1/jobs", json=TINY).json()["id"]
    result = {"train_images": 1000, "classes": ["0"] * 10, "epochs": 2, "seconds": 20.0}
    Attempt(store, done).succeed(**result)
    planned = client.post("/v1/sweeps", json=body, params={"dry_run": "true"}).json()
    least, most = planned["seconds_per_job"]
    assert most == pytest.approx(4 * least, rel=0.02)
    assert planned["seconds"] == pytest.approx(12 * (least + most) / 2, rel=0.01)
    assert _rows(store, sweeps) == 0


def test_a_sweep_is_followed_compared_cancelled_and_deleted(client: TestClient, store: Store) -> None:
    made = _create(client, name="mine")
    assert (made["state"], made["jobs"], made["trials"], made["best"]) == ("running", 3, [], None)
    driver = SweepDriver(store, world.Silence())
    driver.run_once()
    world.work(store)
    driver.run_once()
    path = f"/v1/sweeps/{made['id']}"
    found = client.get(path).json()
    assert found["counts"] == {"running": 1, "succeeded": 2, "pruned": 0, "cancelled": 0, "failed": 0}
    assert [trial["number"] for trial in found["trials"]] == [0, 1, 2]
    assert found["best"]["value"] == max(trial["value"] for trial in found["trials"][:2])
    assert found["trials"][0]["epochs"].keys() == {"1", "2"}
    compared = client.get("/v1/compare", params={"sweep": made["id"], "metric": "validation_accuracy"}).json()
    assert compared["differing"] == [_RATE]
    assert [job["parameters"] for job in compared["jobs"]] == [trial["parameters"] for trial in found["trials"]]
    assert [job["id"] for job in compared["jobs"]] == [trial["job"] for trial in found["trials"]]
    assert client.post("/v1/compare", json={"sweep": made["id"]}).status_code == 200
    assert client.get("/v1/compare", params={"sweep": "swp_" + "0" * 26}).status_code == 404
    report = client.get(f"{path}/report").json()
    assert (report["sweep"], report["state"], report["metric"]) == (made["id"], "running", "validation_accuracy")
    assert [row["label"] for row in report["rows"]] == [
        f"learning_rate {trial['parameters'][_RATE]}" for trial in found["trials"]
    ]
    value = found["trials"][0]["value"]
    assert report["rows"][0]["value"] == {"mean": value, "deviation": None, "count": 1}
    assert report["rows"][2]["runs"][0]["state"] == "running"
    assert client.delete(path).status_code == 409
    for _ in range(2):
        cancelled = client.post(f"{path}/cancel").json()
        assert (cancelled["state"], cancelled["trials"][2]["job_state"]) == ("cancelled", "cancelled")
        assert cancelled["reason"]["code"] == "requested"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert _rows(store, jobs) == 3


def test_pages_keys_and_repeated_requests(client: TestClient, store: Store) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (client.post("/v1/sweeps", json=BODY, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = client.post("/v1/sweeps", json=BODY | {"seed": 5}, headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"
    second = _create(client)
    page = client.get("/v1/sweeps", params={"limit": 1}).json()
    assert ([row["id"] for row in page["data"]], page["has_more"]) == ([second["id"]], True)
    page = client.get("/v1/sweeps", params={"after": second["id"]}).json()
    assert ([row["id"] for row in page["data"]], page["has_more"]) == ([first.json()["id"]], False)
    reader = key_with(store, "read")
    assert client.get(f"/v1/sweeps/{second['id']}", headers=reader).status_code == 200
    assert client.post("/v1/sweeps", json=BODY, headers=reader).status_code == 403
    with store.write() as connection:
        connection.execute(update(sweeps).values(organisation_id="org_other"))
    for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
        assert client.request(method, f"/v1/sweeps/{second['id']}{path}").status_code == 404
    assert client.get("/v1/sweeps").json()["data"] == []
