"""The dashboard asks for what the service tells: every figure in its queries is among those that are exported."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.instruments import Instruments
from jobs import deliveries, jobs, lease, webhooks
from jobs.figures import read
from jobs.settings import Settings
from jobs.spec import JobSpec
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from tests.api.conftest import RecordingDoorbell
from tests.jobs.helpers import claim, ready_dataset, submit

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "docs" / "operations" / "grafana.json"
PAGE = ROOT / "docs" / "operations.md"


def _busy(store: Store) -> None:
    """Put something of everything into the store."""
    with store.write() as connection:
        hook = webhooks.create(connection, organisation=DEFAULT_ORGANISATION, url="https://example.org/")
        deliveries.test(connection, hook.id, organisation=DEFAULT_ORGANISATION)
    ready_dataset(store, {"a": 3, "b": 3})
    for code in ("out_of_memory", "out_of_memory", "no_cuda"):
        submit(store)
        job = claim(store)
        assert job is not None
        with store.write() as connection:
            lease.fail(connection, job.id, 1, {"code": code, "message": "none", "param": None})
    for speed in (100, 300):
        submit(store)
        job = claim(store)
        assert job is not None
        with store.write() as connection:
            from jobs import events

            progress = {"images_per_second": speed}
            events.append(connection, job.id, 1, [("log", {"message": "on"})], values={"progress": progress})
    submit(store)
    with store.write() as connection:
        gpu = jobs.create(connection, JobSpec(dataset="digits", device="cuda"))
    with store.write() as connection:
        jobs.request_pause(connection, gpu.id)
    with store.write() as connection:
        jobs.create(connection, JobSpec(dataset="digits", queue="mine"))


def test_figures_of_the_service(store: Store) -> None:
    _busy(store)
    with store.read() as connection:
        found = read(connection)
    assert {state.value: count for state, count in found.jobs.items() if count} == {
        "failed": 3, "running": 2, "queued": 2, "paused": 1,
    }  # fmt: skip
    assert set(found.oldest) == {"running", "queued", "paused"}
    assert found.queued == {"auto": 1, "mine": 1}
    assert all(0 <= seconds < 60 for seconds in (*found.oldest.values(), *found.queued_oldest.values()))
    assert (found.claims, found.failed_attempts) == (5, 0)
    assert found.failures == {"out_of_memory": 2, "no_cuda": 1}
    running = found.running["auto"]
    assert (running.jobs, running.images_per_second) == (2, 400)
    assert running.step_seconds == pytest.approx((128 / 100 + 128 / 300) / 2)
    assert found.datasets == {"checking": 0, "ready": 1, "invalid": 0}
    assert found.stored_bytes > 0
    assert found.deliveries["pending"] == 11  # a test, five starts, three failures, a pause, a data set
    text = Instruments().text(found).decode()
    assert 'fqt_jobs_failed{code="out_of_memory"} 2.0' in text
    assert 'fqt_running_images_per_second{queue="auto"} 400.0' in text


@pytest.fixture
def exported(tmp_path: Path) -> dict[str, Any]:
    """Every sample that a service exports that has seen something of everything: names, and their labels."""
    settings = Settings(data_dir=tmp_path / "data", reaper_seconds=600)
    app = create_app(settings, doorbell=RecordingDoorbell())
    with TestClient(app, base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        _busy(app.state.context.store)
        client.get("/v1/jobs")
        app.state.context.instruments.delivery("delivered", 0.1)
        app.state.context.instruments.doorbells.labels("fqt.run", "sent").inc()
        app.state.context.instruments.limited.labels("key").inc()
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_every_query_of_the_dashboard_is_answered(exported: dict[str, set[str]]) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 15
    for query in queries:
        names = re.findall(r"\bfqt_[a-z_]+", query)
        assert names, query
        for name in names:
            assert name in exported, query
        known = set().union(*(exported[name] for name in names))
        asked = re.findall(r"\bby \(([^)]*)\)", query) + re.findall(r"([a-z_]+)=~?\"", query)
        assert {label.strip() for part in asked for label in part.split(",")} <= known, query
    shown = {name for query in queries for name in re.findall(r"\bfqt_[a-z_]+", query)}
    bases = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in exported}
    assert bases - {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in shown} == set()  # nothing is left out
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_page_describes_every_figure(exported: dict[str, set[str]]) -> None:
    text = PAGE.read_text()
    described = set(re.findall(r"`(fqt_[a-z_]+)", text))
    assert described == {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in exported}
