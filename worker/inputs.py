"""What a training child is given: files of the store, checked, and its ``job.json``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import structlog

from fqt_core.config.builtin import BUILTIN_DATASETS
from jobs import checkpoints, datasets
from jobs.blobs import BlobStore
from jobs.errors import BlobError
from jobs.records import Job
from jobs.store import Store
from worker.capacity import child_limits
from worker.journal import Journal
from worker.protocol import TrainingInput

_log = structlog.stdlib.get_logger(__name__)


class InputError(Exception):
    """A job cannot begin. ``param`` is the field of the spec that names what is missing or damaged."""

    def __init__(self, message: str, param: str, code: str = "input_unusable") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


def training_input(store: Store, job: Job, journal: Journal, threads: int) -> TrainingInput:
    """Gather and check everything that the job's child needs.

    Raises:
        InputError: a file that the job was accepted with is gone or damaged.
        LeaseLostError: the attempt does not hold the job any more.
    """
    folder = _folder(store, job)
    data = _dataset(store.blobs, job)
    return TrainingInput(
        job_id=job.id,
        spec=job.spec,
        dataset=folder or data,
        listing=None if folder is None else data,
        initial_weights=_file(store.blobs, job.initial_weights_sha256, "initial_weights"),
        teacher=_file(store.blobs, job.teacher_sha256, "teacher"),
        resume_from=_resume_from(store, job, journal),
        threads=threads,
        device=_device(store, job),
        limits=child_limits(store.settings),
    )


def _folder(store: Store, job: Job) -> str | None:
    """The path of the mounted folder that the job trains on; ``None``: it trains on something else."""
    if job.dataset_id is None:
        return None
    with store.read() as connection:
        source = datasets.get(connection, job.dataset_id).source or {}
    if source.get("kind") != "folder":
        return None
    path = store.settings.folders.get(source["folder"])
    if path is None or not path.is_dir():
        message = f"this worker has no folder {source['folder']!r}: it must be mounted and named in FQT_DATASET_FOLDERS"
        raise InputError(message, "dataset", "folder_missing")
    return str(path)


def _dataset(blobs: BlobStore, job: Job) -> str:
    if job.spec.dataset in BUILTIN_DATASETS:
        return job.spec.dataset
    path = _file(blobs, job.dataset_sha256, "dataset")
    if path is None:
        raise InputError(f"the data set {job.spec.dataset} was not kept with the job", "dataset")
    return path


def _file(blobs: BlobStore, sha256: str | None, param: str) -> str | None:
    if sha256 is None:
        return None
    try:
        return str(blobs.verify(sha256).resolve())
    except BlobError as error:
        raise InputError(str(error), param) from error


def _device(store: Store, job: Job) -> Literal["auto", "cpu", "cuda"]:
    """``auto`` stays open for the child to settle only where the worker serves GPUs."""
    if job.spec.device == "auto" and "cuda" not in store.settings.queue_names:
        return "cpu"
    return job.spec.device


def _resume_from(store: Store, job: Job, journal: Journal) -> str | None:
    """The newest checkpoint whose bytes are right; a damaged one falls back to the one before."""
    with store.read() as connection:
        kept = checkpoints.list_checkpoints(connection, job.id)
    for checkpoint in kept:
        try:
            return str(store.blobs.verify(checkpoint.sha256).resolve())
        except BlobError as error:
            _log.error("a checkpoint is unusable; trying the one before", step=checkpoint.step, error=str(error))
            drop = partial(checkpoints.discard, epoch=job.lease_epoch, checkpoint=checkpoint, reason=str(error))
            store.collect(journal.write(drop) or [])
    return None


def write_input(data: TrainingInput, folder: Path) -> None:
    """Write ``job.json``."""
    (folder / "job.json").write_text(data.model_dump_json(indent=1))
