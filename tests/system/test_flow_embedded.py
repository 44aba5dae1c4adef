"""The main job through `fqt up`: SQLite, an embedded broker, one command."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from fqt_client import Client, Event
from fqt_core.events import ArtifactWritten
from fqt_core.training.session import prepare
from jobs.spec import JobSpec
from tests.service.running import Up, fqt, running
from tests.system.flow import SMALL, whole_flow


def weights_of_jobs_are_those_of_the_library(home: Path, up: Up) -> None:
    """Same description, data and seed: the library makes the very files of pre-training and of fine-tuning."""
    key = json.loads(Path(up.ready["config"]).read_text())["api_key"]
    before = torch.get_num_threads()
    start: Path | None = None
    with Client(up.ready["url"], key) as client:
        jobs = [job for job in client.jobs.list() if job.state == "succeeded"]
        for job, data in zip(reversed(jobs), ("digits", home / "photos"), strict=True):
            spec = JobSpec.model_validate(job.spec)
            assert job.record is not None
            torch.set_num_threads(job.record["threads"])
            session = prepare(
                architecture=spec.architecture,
                method=spec.method,
                training=spec.training,
                data=data,
                classes=spec.classes,
                initial_weights=start,
                device="cpu",
            )
            folder = home / "library" / job.id
            written = {e.kind: e for e in session.run(folder) if isinstance(e, ArtifactWritten)}
            assert written["weights"].sha256 == client.jobs.artifact(job.id, "weights").sha256
            start = folder / "weights.safetensors"
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_flow_and_a_job_that_outlives_the_api(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0") as up:
        whole_flow(lambda *arguments: fqt(tmp_path, *arguments), tmp_path)
        (tmp_path / "photos" / "6" / "broken.png").unlink()
        weights_of_jobs_are_those_of_the_library(tmp_path, up)

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
