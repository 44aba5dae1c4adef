"""Small real jobs, submitted through the API until each is accepted, and what they come to when nothing goes wrong."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from fqt_client import Client, FqtClientError, InvalidRequestError
from jobs import jobs
from jobs.states import TERMINAL
from jobs.store import Store
from jobs.tables import jobs as table
from tests.system.chaos.cluster import START_SECONDS, Cluster
from tests.system.chaos.history import files
from tests.worker.helpers import until

T = TypeVar("T")

# 51 of 64 images in batches of 16: 4 steps an epoch, and a checkpoint at every second one.
_TRAINING = {"epochs": 10, "batch_size": 16, "checkpoint_every_steps": 2}
_ARCHITECTURE = {"name": "convnet", "width": 0.25, "image_size": 8, "channels": 1}
_CALM_SECONDS = 300.0
_ANSWER_SECONDS = 180.0
_AGAIN_SECONDS = 0.2


def upload_images(client: Client, folder: Path) -> str:
    """Upload 64 images of two classes; return the id of the data set."""
    draw = np.random.default_rng(0)
    labels = np.arange(64) % 2
    pixels = (draw.integers(0, 200, (64, 8, 8)) + 50 * labels[:, None, None]).astype(np.uint8)
    path = folder / "images.npz"
    np.savez(path, images=pixels, labels=labels)
    return client.datasets.upload(path).id


def scripts(count: int) -> list[dict[str, Any]]:
    """So many different jobs that scripted children play, each for about a second."""
    return [
        {"dataset": "digits", "name": json.dumps({"steps": 24 + number, "pause": 0.04, "every": 3})}
        for number in range(count)
    ]


def specs(dataset: str, count: int) -> list[dict[str, Any]]:
    """So many different jobs that train, each of which is submitted many times."""
    choices = product((1, 2, 3, 4), ("fqt", "qat"))
    return [
        {
            "dataset": dataset,
            "architecture": _ARCHITECTURE,
            "method": {"name": method},
            "training": {**_TRAINING, "seed": seed},
        }
        for _, (seed, method) in zip(range(count), choices, strict=False)
    ]


@dataclass
class Workload:
    """The jobs of a run.

    ``calm``: the files that each spec leads to while nothing goes wrong, as :func:`~.history.files` gives them;
    ``accepted``: the number of its spec, by job id.
    """

    cluster: Cluster
    specs: list[dict[str, Any]]
    calm: list[dict[str, str]] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)

    def run_calmly(self) -> None:
        """Run each spec once while nothing goes wrong."""
        with self.cluster.client() as client:
            ids = [client.jobs.create(spec).id for spec in self.specs]
        store = self.cluster.store
        until(lambda: ended(store) == len(ids), _CALM_SECONDS)
        for job_id in ids:
            with store.read() as connection:
                job = jobs.get(connection, job_id)
            assert job.state == "succeeded", (job.state, job.error)
            self.calm.append(files(job))

    def submit(self, count: int, may: Callable[[int], bool], stop: threading.Event) -> None:
        """Submit so many jobs, each again and again under one Idempotency-Key until it is accepted.

        ``may`` says whether another one may come after so many.
        """
        with self.cluster.client() as client:
            for number in range(count):
                while not may(number) and not stop.wait(0.05):
                    pass
                if stop.is_set():
                    return
                spec = number % len(self.specs)
                self.accepted[self._accepted(client, self.specs[spec], f"chaos-{number}")] = spec

    def _accepted(self, client: Client, spec: dict[str, Any], key: str) -> str:
        """Submit until there is an answer: the id of the job."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            try:
                return client.jobs.create(spec, idempotency_key=key).id
            except FqtClientError as error:
                if isinstance(error, InvalidRequestError) or time.monotonic() > deadline:
                    raise
                time.sleep(_AGAIN_SECONDS)


def answered(ask: Callable[[], T]) -> T:
    """What the database says; asked again and again while it is away, or about to be."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return ask()
        except SQLAlchemyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_AGAIN_SECONDS)


def ended(store: Store) -> int:
    """How many jobs have ended. Asks until the database answers."""

    def count() -> int:
        with store.read() as connection:
            query = select(func.count()).select_from(table).where(table.c.state.in_(sorted(TERMINAL)))
            return int(connection.execute(query).scalar_one())

    return answered(count)
