"""The broker may be away: a job that was accepted is rung for again, and nobody waits long."""

from __future__ import annotations

import time

from fastapi.testclient import TestClient

from api.app import create_app
from api.doorbell import CeleryDoorbell
from api.instruments import Instruments
from jobs.settings import Settings
from tests.api.conftest import RecordingDoorbell, submit

NOBODY = "redis://127.0.0.1:1/0"


def test_without_a_broker_a_job_is_accepted(settings: Settings) -> None:
    settings = settings.model_copy(update={"broker_url": type(settings.broker_url)(NOBODY)})
    app = create_app(settings)
    with TestClient(app, base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        begin = time.monotonic()
        job_id = submit(client)
        assert time.monotonic() - begin < 3
        assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"
        assert client.get("/readyz").status_code == 503
    assert b'fqt_doorbells_total{outcome="lost",task="fqt.run"} 1.0' in app.state.context.instruments.text()


def test_the_reaper_rings_again(settings: Settings) -> None:
    doorbell = RecordingDoorbell()
    app = create_app(settings.model_copy(update={"reaper_seconds": 0.05}), doorbell=doorbell)
    with TestClient(app, base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        job_id = submit(client)
        deadline = time.monotonic() + 10
        while len(doorbell.rung) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert doorbell.rung[:3] == [(job_id, "auto")] * 3


def test_messages_reach_a_real_broker(settings: Settings, valkey_url: str) -> None:
    settings = settings.model_copy(update={"broker_url": type(settings.broker_url)(valkey_url)})
    instruments = Instruments()
    doorbell = CeleryDoorbell(settings, instruments)
    assert doorbell.broker_answers()
    assert not doorbell.worker_answers()
    doorbell.ring_dataset("ds_1")
    doorbell.close()
    assert b'fqt_doorbells_total{outcome="sent",task="fqt.inspect"} 1.0' in instruments.text()
