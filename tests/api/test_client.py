"""The client's comparison and sweeps, spoken to the app itself."""

from __future__ import annotations

import httpx
import pytest
from fastapi.testclient import TestClient

from fqt_client import Client, ConflictError, InvalidRequestError, NotFoundError, UnusableValueError, WaitTimeoutError
from jobs.store import Store
from jobs.sweep_driver import SweepDriver
from tests.api.conftest import Attempt, submit
from tests.jobs import sweep_world as world
from tests.jobs.helpers import TINY

_RATE = "training.learning_rate"
_SPACE = {_RATE: {"type": "choice", "values": [0.1, 0.01]}}


@pytest.fixture
def fqt(client: TestClient) -> Client:
    def passed_on(request: httpx.Request) -> httpx.Response:
        url = request.url.raw_path.decode()
        answer = client.request(request.method, url, content=request.read(), headers=dict(request.headers.items()))
        return httpx.Response(answer.status_code, content=answer.content, headers=dict(answer.headers.items()))

    key = client.headers["Authorization"].removeprefix("Bearer ")
    return Client("http://localhost", key, http=httpx.MockTransport(passed_on), sleep=lambda _: None)


def test_compare(fqt: Client, client: TestClient, store: Store) -> None:
    ids = [submit(client, name=name, training={"learning_rate": rate}) for name, rate in (("a", 0.1), ("b", 0.2))]
    Attempt(store, ids[0]).steps(1, 40)
    found = fqt.compare(ids, metrics=["loss"], points=8, equal=True)
    assert found.differing == [_RATE]
    assert found.equal is not None
    assert found.equal["dataset"] == "digits"
    loss = found.jobs[0].metric("loss", "step")
    assert loss is not None
    assert loss.min is not None
    assert loss.curve is not None
    assert (loss.min.step, loss.last.value, loss.curve.x) == (40, 1 / 40, [1, 20, 21, 40])
    assert found.jobs[1].metric("loss") is None
    assert found.jobs[0].created_at is not None
    with pytest.raises(InvalidRequestError):
        fqt.compare()
    with pytest.raises(NotFoundError):
        fqt.compare(["job_" + "0" * 26])


def test_sweeps(fqt: Client, store: Store) -> None:
    assert fqt.sweeps.plan(TINY, _SPACE, algorithm="grid").jobs == 2
    with pytest.raises(InvalidRequestError) as caught:
        fqt.sweeps.create(TINY, {"training.rate": _SPACE[_RATE]}, max_jobs=1)
    assert [fault.field for fault in caught.value.faults] == ["space.training.rate"]
    made = fqt.sweeps.create(TINY, _SPACE, algorithm="grid", name="mine")
    driver = SweepDriver(store, world.Silence())
    with pytest.raises(WaitTimeoutError):
        fqt.sweeps.wait(made.id, timeout=0)
    with pytest.raises(ConflictError):
        fqt.sweeps.delete(made.id)
    for _ in range(3):
        driver.run_once()
        world.work(store)
    found = fqt.sweeps.wait(made.id)
    assert (found.state, found.ended, len(found.trials)) == ("finished", True, 2)
    assert found.best is not None
    assert found.best.parameters == {_RATE: 0.01}
    compared = fqt.compare(sweep=made.id, points=0)
    assert [job.parameters for job in compared.jobs] == [trial.parameters for trial in found.trials]
    other = fqt.sweeps.create(TINY, _SPACE, algorithm="grid")
    assert [sweep.id for sweep in fqt.sweeps.list()] == [other.id, made.id]
    assert fqt.sweeps.cancel(other.id).state == "cancelled"
    fqt.sweeps.delete(other.id)
    with pytest.raises(NotFoundError):
        fqt.sweeps.get(other.id)
    with pytest.raises(UnusableValueError):
        fqt.sweeps.get("../keys")
