"""What a training child does, from ``job.json`` to the result files. Imports torch: for children only."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from fqt_core import export
from fqt_core.allocator import keep_pages
from fqt_core.code_pages import CodePages
from fqt_core.config import ParallelConfig
from fqt_core.config.threads import worthwhile_threads
from fqt_core.data import ImageDataset, load_pinned
from fqt_core.errors import CheckpointError
from fqt_core.events import ArtifactWritten, CheckpointWritten, Done, LogLine, StepDone
from fqt_core.models import WeightReport
from fqt_core.parallel.replicas import joined, local_device
from fqt_core.process_memory import forget_peak, peak_bytes, resident_bytes
from fqt_core.training import Session, prepare
from fqt_core.training.artifacts import write_artifacts
from fqt_core.training.confusion import Verdicts, confusion, judge
from fqt_core.training.examples import save_examples
from fqt_core.training.replica import Replica
from worker.child_errors import UnusableInputError
from worker.lifeline import Lifeline
from worker.protocol import Exit, TrainingInput

_EVALUATION_BATCH = 256


def train_as_rank(data: TrainingInput, parallel: ParallelConfig, folder: Path, lifeline: Lifeline) -> Exit:
    """Train as one of the processes of the job; see :func:`train`. ``data.threads`` are those of this process."""
    kept = folder / "resume.safetensors"
    device = local_device(device_of(data.device))
    with joined(parallel, device) as replica:
        part = data.model_copy(update={"resume_from": str(kept)}) if kept.exists() else data
        return train(part, folder, lifeline, replica=replica, device=device, keep=kept)


def train(
    data: TrainingInput,
    folder: Path,
    lifeline: Lifeline,
    *,
    replica: Replica | None = None,
    device: torch.device | None = None,
    keep: Path | None = None,
) -> Exit:
    """Train the job and write its files, reporting all along.

    ``replica``: which process of several this is, on which ``device``; the first one writes. ``keep``: where the newest
    checkpoint stays whatever becomes of the one that is told.

    Raises:
        UnusableInputError: there is no GPU, or the teacher cannot be used.
        fqt_core.errors.FqtError: whatever the library refuses.
    """
    spec = data.spec
    base = resident()
    device = device or device_of(data.device)
    threads = _threads(data, replica)
    torch.set_num_threads(threads)
    keep_pages()
    fresh = data.resume_from is None
    if threads < data.threads and device.type == "cpu":
        lifeline.send(LogLine(message=f"on {threads} of {data.threads} threads: a step is too small to be worth more"))
    if spec.method.chooses_bits and fresh:
        lifeline.send(LogLine(message="choosing the bits of each layer's gradient, from a short probe"))
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    session = prepare(
        architecture=spec.network,
        method=spec.method,
        training=spec.training,
        data=dataset_of(data),
        classes=spec.classes,
        initial_weights=data.initial_weights if fresh else None,
        checkpoint_dir=checkpoints,
        checkpoint_best=spec.checkpoints.keep_best,
        resume_from=data.resume_from,
        should_stop=lifeline.stop.is_set,
        device=device,
        teacher=_teacher(data),
        replica=replica,
    )
    if session.weights is not None:
        lifeline.send(LogLine(message=_taken(session.weights, data)))
    pages = CodePages()
    done = _run(session, lifeline, keep, pages)
    if isinstance(done, Exit):
        return done
    if replica is not None and replica.rank > 0:
        return Exit.DONE
    done = done.model_copy(update={"memory_bytes": grown(base, pages)})
    verdicts = _verdicts(session, device, lifeline)
    if lifeline.cancel.is_set():
        return Exit.CANCELLED
    if verdicts is not None:
        done = done.model_copy(update={"confusion": confusion(verdicts, session.trainer.data.classes)})
    description = spec.model_dump(mode="json")
    for written in write_artifacts(session, folder, done=done, spec=description, job=data.job_id):
        lifeline.send(written)
    if verdicts is not None:
        examples = folder / "examples.webp"
        layout = save_examples(examples, verdicts, session.trainer.data.validation_pixels)
        lifeline.send(ArtifactWritten.of("examples", examples, layout))
    lifeline.send(done)
    return Exit.DONE


def _threads(data: TrainingInput, replica: Replica | None) -> int:
    """How many of the slot's threads the job is worth; a function of its description, as its result depends on it."""
    images = data.spec.training.micro_batch_size // (1 if replica is None else replica.size)
    return worthwhile_threads(data.spec.network, data.spec.method, images=max(1, images), most=data.threads)


def resident() -> int | None:
    """Memory before the job's own, from where its peak counts; ``None`` where nothing tells."""
    try:
        resident = resident_bytes()
    except OSError:
        return None
    forget_peak()
    return resident


def grown(base: int | None, pages: CodePages) -> int | None:
    """The most memory since :func:`resident` told of ``base``, beyond that and what code took meanwhile."""
    return None if base is None else max(0, peak_bytes() - base - pages.moved)


def _run(session: Session, lifeline: Lifeline, keep: Path | None, pages: CodePages) -> Done | Exit:
    """Train, telling all events but the last one, which is returned; or how the run ended without one."""
    done: Done | None = None
    for event in session.trainer:
        if lifeline.cancel.is_set():
            return Exit.CANCELLED
        if isinstance(event, CheckpointWritten) and keep is not None:
            _keep(Path(event.path), keep)
        if isinstance(event, StepDone):
            pages.step_done()
        if isinstance(event, Done):
            done = event  # said only when the files are there
        else:
            lifeline.send(event)
    return Exit.STOPPED if done is None else done


def _keep(checkpoint: Path, name: Path) -> None:
    """Give a file another name too, in place of the one that had it."""
    fresh = name.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    os.link(checkpoint, fresh)
    fresh.replace(name)


def _verdicts(session: Session, device: torch.device, lifeline: Lifeline) -> Verdicts | None:
    """Of the network that is kept, on the validation images; ``None`` without any."""
    batches = session.trainer.data.validation_batches(_EVALUATION_BATCH)
    return judge(session.trainer.model, batches, device=device, should_stop=lifeline.cancel.is_set)


def dataset_of(data: TrainingInput) -> str | ImageDataset:
    """The data set's file or name; a mounted folder is loaded here, if it holds what the job was accepted with."""
    if data.listing is None:
        return data.dataset
    network = data.spec.network
    return load_pinned(
        Path(data.dataset),
        Path(data.listing).read_bytes(),
        classes=data.spec.classes,
        channels=network.channels,
        image_size=network.image_size,
    )


def device_of(wanted: str) -> torch.device:
    """The device that a job runs on.

    Raises:
        UnusableInputError: there is no GPU.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        message = "this worker has no GPU that torch can use; use device 'auto' or 'cpu'"
        raise UnusableInputError(message, "no_cuda", "device")
    use_cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def _taken(weights: WeightReport, data: TrainingInput) -> str:
    """What was taken of the initial weights, in words."""
    left = "; ".join(f"{name}: {reason}" for name, reason in weights.skipped.items())
    message = f"took {len(weights.taken)} tensors from {data.spec.initial_weights}"
    return f"{message}; not taken: {left}" if left else message


def _teacher(data: TrainingInput) -> export.PackedModel | None:
    if data.teacher is None:
        return None
    try:
        return export.load(data.teacher)
    except (CheckpointError, OSError) as error:
        raise UnusableInputError(str(error), "teacher_unusable", "teacher") from error
