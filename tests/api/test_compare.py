"""Jobs side by side, over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from jobs.store import Store
from jobs.tables import jobs
from tests.api.conftest import Attempt, submit


@pytest.fixture
def two(client: TestClient, store: Store) -> list[str]:
    """Two jobs that differ in a learning rate; the first has 40 steps, the second has none."""
    found = [submit(client, name=name, training={"learning_rate": rate}) for name, rate in (("a", 0.1), ("b", 0.2))]
    Attempt(store, found[0]).steps(1, 40)
    return found


def test_a_link_and_a_body_say_the_same(client: TestClient, two: list[str]) -> None:
    query: dict[str, Any] = {"job": two, "metric": ["loss"], "points": 8, "align": "step"}
    linked = client.get("/v1/compare", params=query)
    posted = client.post("/v1/compare", json={"jobs": two, "metrics": ["loss"], "points": 8, "align": "step"})
    assert linked.status_code == 200
    assert posted.json() == linked.json()
    found = linked.json()
    assert found["differing"] == ["training.learning_rate"]
    assert found["equal"] is None
    assert [job["parameters"] for job in found["jobs"]] == [
        {"training.learning_rate": 0.1},
        {"training.learning_rate": 0.2},
    ]
    (loss,) = found["jobs"][0]["metrics"]
    assert loss["points"] == 40
    assert loss["min"] == loss["last"] == {"value": 1 / 40, "step": 40}
    assert loss["max"] == {"value": 1.0, "step": 1}
    assert loss["curve"] == {"x": [1, 20, 21, 40], "values": [1, 1 / 20, 1 / 21, 1 / 40]}
    assert found["jobs"][1]["metrics"] == []


def test_equal_parameters_and_no_curves_on_request(client: TestClient, store: Store, two: list[str]) -> None:
    Attempt(store, two[1]).report(("metric", {"kind": "step", "step": 1, "loss": float("nan")}))
    found = client.get("/v1/compare", params={"job": two, "equal": True, "points": 0}).json()
    assert found["equal"]["dataset"] == "digits"
    metrics = [job["metrics"][0] for job in found["jobs"]]
    assert [metric["curve"] for metric in metrics] == [None, None]
    assert (metrics[1]["min"], metrics[1]["last"]) == (None, {"value": None, "step": 1})
    curve = client.get("/v1/compare", params={"job": two[1]}).json()["jobs"][0]["metrics"][0]["curve"]
    assert curve == {"x": [1], "values": [None]}


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({}, "job"),
        ({"job": "x"}, "job.0"),
        ({"job": "job_" + "0" * 26, "align": "day"}, "align"),
        ({"job": "job_" + "0" * 26, "points": -1}, "points"),
        ({"job": "job_" + "0" * 26, "kind": "layer"}, "kind.0"),
        ({"job": "job_" + "0" * 26, "kind": ["step"] * 6}, "kind"),
        ({"job": "job_" + "0" * 26, "jobs": "x"}, "jobs"),
    ],
)
def test_what_cannot_be_asked_is_named(client: TestClient, params: dict[str, Any], field: str) -> None:
    response = client.get("/v1/compare", params=params)
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]


@pytest.mark.parametrize("body", [{}, {"jobs": []}, {"jobs": None, "sweep": None}])
def test_a_body_names_something_to_compare(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/v1/compare", json=body)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["jobs"]


def test_another_organisations_job_is_no_job(client: TestClient, store: Store, two: list[str]) -> None:
    with store.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == two[1]).values(organisation_id="org_other"))
    for job_id in (two[1], "job_" + "0" * 26):
        response = client.get("/v1/compare", params={"job": [two[0], job_id]})
        assert response.status_code == 404
        assert job_id in response.json()["detail"]


def test_an_answer_has_a_bound(client: TestClient, two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs import compare

    monkeypatch.setattr(compare, "MOST_POINTS", 39)
    params: dict[str, Any] = {"job": two, "points": 40}
    response = client.get("/v1/compare", params=params)
    assert response.status_code == 422
    assert [error["field"] for error in response.json()["errors"]] == ["points"]
    assert client.get("/v1/compare", params=params | {"points": 39}).status_code == 200
