"""Short ways to what many tests of the job domain need."""

from __future__ import annotations

from typing import Any

from jobs import datasets, jobs, lease
from jobs.records import Job
from jobs.spec import JobSpec
from jobs.states import JobState
from jobs.store import Store

TINY: dict[str, Any] = {
    "dataset": "digits",
    "architecture": {"name": "resnet18", "width": 0.0625, "image_size": 8, "channels": 1},
    "training": {"epochs": 2},
}


def spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate(TINY | changes)


def submit(store: Store, **changes: Any) -> Job:
    with store.write() as connection:
        return jobs.create(connection, spec(**changes))


def claim(store: Store, seconds: float = 60.0, queues: tuple[str, ...] = ("cpu",)) -> Job | None:
    with store.write() as connection:
        return lease.claim(connection, queues, "test:1:0", seconds)


def running(store: Store, seconds: float = 60.0) -> Job:
    submit(store)
    job = claim(store, seconds)
    assert job is not None
    return job


def get(store: Store, job_id: str) -> Job:
    with store.read() as connection:
        return jobs.get(connection, job_id)


def state(store: Store, job_id: str) -> JobState:
    return get(store, job_id).state


def ready_dataset(store: Store, counts: dict[str, int], **changes: Any) -> str:
    blob = store.blobs.put_stream([repr(counts).encode()])
    profile = {"format": "folders", "classes": [{"name": k, "count": n} for k, n in counts.items()], "faults": []}
    with store.write() as connection:
        dataset = datasets.create(connection, store.blobs, blob, name="mine")
        claimed = datasets.claim_check(connection, dataset.id, 60)
        assert claimed is not None
        datasets.finish_check(connection, dataset.id, claimed.check_epoch, profile=profile | changes)
    return dataset.id
