"""Whole worker processes, and the doorbell that the API rings them with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from celery import Celery

import worker
from jobs.settings import Settings

ROOT = Path(worker.__file__).parents[1]
SCRIPT = Path(__file__).with_name("run_worker.py")
REAL = ("-m", "worker")


class Bell:
    """The API's side: sends messages by name."""

    def __init__(self, url: str) -> None:
        self.celery = Celery("fqt", broker=url, set_as_current=False)
        self.celery.conf.update(task_serializer="json", task_ignore_result=True)

    def ring_job(self, job_id: str, queue: str) -> None:
        self.celery.send_task("fqt.run", kwargs={"job_id": job_id}, queue=queue)

    def ring_dataset(self, dataset_id: str) -> None:
        self.celery.send_task("fqt.inspect", kwargs={"dataset_id": dataset_id}, queue="inspect")


class Process:
    """A worker process on the settings of a store."""

    def __init__(self, settings: Settings, command: Sequence[str] = (str(SCRIPT),), **changes: object) -> None:
        values = settings.model_dump(exclude_unset=True) | {"broker_url": settings.broker_url} | changes
        self.log = settings.data_dir / f"worker-{time.monotonic_ns()}.log"
        environment = {f"FQT_{name.upper()}": _plain(value) for name, value in values.items()}
        with self.log.open("wb") as log_file:
            self.popen = subprocess.Popen(
                [sys.executable, *command],
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )

    def end(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(20)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait()


def _plain(value: object) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
