"""The main job through `fqt up`: SQLite, an embedded broker, one command."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest

from fqt_client import Client, Event
from tests.service.running import fqt, running
from tests.system.flow import SMALL, whole_flow


@pytest.mark.slow
def test_the_whole_flow_and_a_job_that_outlives_the_api(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0") as up:
        whole_flow(lambda *arguments: fqt(tmp_path, *arguments), tmp_path)

        # While a job runs and is watched, the API is killed: the job goes on, and the watcher misses nothing.
        submitted = fqt(tmp_path, "submit", "--dataset", "digits", *SMALL, "--method", "qat", "--epochs", "6", "--json")
        job_id = json.loads(submitted.stdout)["id"]
        key = json.loads(Path(up.ready["config"]).read_text())["api_key"]
        seen: list[Event] = []

        def watch() -> None:
            with Client(up.ready["url"], key) as client:
                seen.extend(client.jobs.events(job_id))

        watcher = threading.Thread(target=watch)
        watcher.start()
        with Client(up.ready["url"], key) as client:
            while not any(event.type == "metric" for event in client.jobs.events(job_id, follow=False)):
                time.sleep(0.05)
            psutil.Process(up.ready["children"]["api"]).kill()
            up.wait_for("starting it again")
            watcher.join(60)
            assert client.jobs.wait(job_id, timeout=60).state == "succeeded"
        assert not watcher.is_alive()
        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert seen[-1].data["to"] == "succeeded"
        states = [event.data["to"] for event in seen if event.type == "state"]
        assert states == ["queued", "running", "succeeded"]  # one attempt: the worker did not notice
