"""A browser, the API and a worker for all tests of the page: processes of their own, started once.

``FQT_PICTURES=docs`` trains longer and writes the pictures of the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser
from sqlalchemy import insert

from jobs import sweeps
from jobs.sqltypes import now
from jobs.store import Store
from jobs.sweep_spec import SweepSpec
from jobs.tables import DEFAULT_ORGANISATION, trials
from tests.api.browser import Visit, chromium, visiting
from tests.api.page.helpers import EPOCHS, NETWORK, PICTURES, wait_for_success
from tests.api.process import Api
from tests.jobs.helpers import get
from tests.worker.processes import REAL, Process


@pytest.fixture(scope="package")
def api(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Api]:
    """The API and a worker, as processes of their own."""
    started = Api(tmp_path_factory.mktemp("page") / "data", valkey_url)
    worker = Process(started.settings, REAL, threads=1, slots=3)
    yield started
    worker.end()
    started.close()


@pytest.fixture(scope="package")
def store(api: Api) -> Iterator[Store]:
    opened = Store.open(api.settings)
    yield opened
    opened.close()


@pytest.fixture(scope="package")
def key(api: Api) -> str:
    return api.settings.key_path.read_text().strip()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, api: Api, key: str) -> Iterator[Visit]:
    """Someone who has signed in."""
    with visiting(browser, f"http://127.0.0.1:{api.port}") as found:
        found.sign_in(key)
        yield found


@pytest.fixture(scope="package")
def submitted(api: Api) -> list[str]:
    """Ids of jobs that a worker has begun with, the newest first."""
    methods: list[tuple[str, dict[str, Any]]] = [
        ("digits, quantisation-aware", {"name": "qat"}),
        ("digits at one bit", {"name": "fqt"}),
    ]
    if PICTURES:
        methods[1:1] = [
            ("digits, dense 8-bit gradients", {"name": "psq", "bits": 8}),
            ("digits, all groups at 4 bits", {"name": "fqt", "preset": "accurate"}),
        ]
    training = {"epochs": EPOCHS, "batch_size": 32, "statistics_every_steps": 10, "telemetry_every_steps": 20}
    with api.client() as client:
        made = []
        for name, method in methods:
            spec = {"name": name, "dataset": "digits", "architecture": NETWORK, "method": method, "training": training}
            made.append(str(client.post("/v1/jobs", json=spec).json()["id"]))
    return made[::-1]


@pytest.fixture(scope="package")
def trained(api: Api, submitted: list[str]) -> list[str]:
    """Those jobs, which have succeeded."""
    with api.client() as client:
        wait_for_success(client, submitted)
    return submitted


@pytest.fixture(scope="package")
def reported(store: Store, trained: list[str]) -> str:
    """Id of a sweep that has ended, whose trials are those jobs, as if it had made them, and one that failed."""
    methods = {"type": "choice", "values": [{"name": "fqt"}, {"name": "qat"}]}
    space = {"method": methods, "training.seed": {"type": "choice", "values": [0, 1]}}
    base = {"dataset": "digits"}
    jobs = len(trained) + 1
    spec = SweepSpec.model_validate({"name": "methods", "base": base, "space": space, "max_jobs": jobs})
    with store.write() as connection:
        made = sweeps.create(connection, spec, organisation=DEFAULT_ORGANISATION)
        sweeps.end(connection, made.id, "finished")
        row = {"sweep_id": made.id, "reported": {}, "notes": {}, "created_at": now()}
        for number, job_id in enumerate(trained):
            job = get(store, job_id)
            parameters = {"method": {"name": job.spec.method.name}, "training.seed": 0}
            told = {"state": "succeeded", "value": (job.result or {})["validation_accuracy"], "job_id": job_id}
            connection.execute(insert(trials).values(**row, number=number, parameters=parameters, **told))
        lost = {"state": "failed", "reason": "the loss is not finite", "parameters": parameters | {"training.seed": 1}}
        connection.execute(insert(trials).values(**row, number=len(trained), **lost))
    return made.id
