"""`fqt demo`: the paper's protocol on real images, through a real service of its own, from nothing to a model file.

A network is pre-trained at one bit with full-precision gradients (`qat`) on the digits 0 to 4. Then it is fine-tuned
with 1-bit fully quantised training (`fqt`) on 5 to 9: images that are uploaded as a folder, as one would one's own.
Both are jobs over HTTP. The fetched model then classifies images that no training has seen.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from fqt_client import Client
from fqt_client.cli.exits import ExitCode
from fqt_client.cli.output import print_json_line
from fqt_client.cli.watch import follow, view_for
from fqt_client.errors import JobFailedError, LocalFileError
from service import demo_data, demo_report, predict
from service.demo_report import Stage
from service.embedded import EmbeddedService
from service.errors import StopRequestedError
from service.lock import DataDirLock
from service.parts import read_settings
from service.stopping import Say, StopSignals, voice

LEAST_ACCURACY = 0.6
"""Of five classes chance is 0.2; below this the demo has failed."""

MARKER = ".fqt-demo"
ARCHITECTURE = {"name": "resnet18", "width": 0.25, "image_size": 16, "channels": 1}


def run(directory: Path, *, as_json: bool) -> int:
    """Run the demo and return the exit code: 0, or 1 if a job failed or learned too little.

    Raises:
        LocalFileError: the folder holds something else.
        StartError: the service cannot be started.
    """
    began = time.monotonic()
    root = claim(directory)
    data_dir = root / "service"
    # A service of its own, whatever this machine's environment says of another one.
    settings = read_settings(data_dir=data_dir, database_url="", blob_dir=data_dir / "blobs", queues="cpu", slots=1)
    if settings.threads is None:
        settings = settings.model_copy(update={"threads": _threads()})
    say = voice(as_json=as_json)
    with DataDirLock(data_dir) as lock, StopSignals() as signals:
        clear(root, lock.path)
        service = EmbeddedService(settings, host="127.0.0.1", port=0, own_broker=True, say=say, stop=signals.stop)
        try:
            service.start()
            say(f"The service runs at {service.url} (data in {data_dir})")
            with signals.interrupting(), Client(service.url, service.api_key) as client:
                stages, held_out = _train(client, root, say=say, as_json=as_json)
                model = client.jobs.download(stages[-1].job.id, stages[-1].model, root / "model.safetensors")
                predictions = predict.predict(predict.load(model), [entry.path for entry in held_out], top=1)
        except StopRequestedError:
            return ExitCode.INTERRUPTED
        except JobFailedError as error:
            say(str(error))
            return ExitCode.JOB_FAILED
        finally:
            say("Stopping the service …")
            service.stop(at_once=signals.at_once)
    told = [
        (entry, prediction.label, prediction.probability)
        for entry, prediction in zip(held_out, predictions, strict=True)
    ]
    summary = demo_report.summary(stages, model, told, seconds=time.monotonic() - began)
    (root / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    demo_report.draw_predictions(told, root / "predictions.png")
    if as_json:
        print_json_line({"event": "summary", **summary})
    else:
        demo_report.show(summary, directory)
    if min(stages[-1].accuracy, summary["held_out"]["accuracy"]) < LEAST_ACCURACY:
        say(f"Fine-tuning learned too little: an accuracy of {LEAST_ACCURACY:.0%} was expected at least.")
        return ExitCode.JOB_FAILED
    return ExitCode.OK


def _threads() -> int:
    """Threads for the small network of the demo: one core stays free for the service and for what shows it.

    More threads than free cores wait for each other in every operation, and make it many times slower.
    """
    return min(4, max(1, len(os.sched_getaffinity(0)) - 1))


def claim(directory: Path) -> Path:
    """Make the demo's folder, unless it is there from an earlier demo; give its absolute path.

    Raises:
        LocalFileError: it cannot be made, or holds something that no demo has put there.
    """
    root = directory.absolute()
    try:
        if root.is_dir() and any(root.iterdir()) and not (root / MARKER).is_file():
            raise LocalFileError(f"{directory} is not empty", remedy="name another folder with --dir")
        root.mkdir(parents=True, exist_ok=True)
        (root / MARKER).touch()
    except OSError as error:
        raise LocalFileError(f"cannot use the folder {directory}: {error.strerror}") from error
    return root


def clear(root: Path, kept: Path) -> None:
    """Remove what an earlier demo left in its folder, but for the lock file ``kept`` that this one holds."""
    for entry in root.iterdir():
        if entry == kept.parent:
            clear(entry, kept)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry not in (kept, root / MARKER):
            entry.unlink()


def _train(client: Client, root: Path, *, say: Say, as_json: bool) -> tuple[list[Stage], list[demo_data.HeldOut]]:
    training = root / "digits-5-to-9"
    held_out = demo_data.write_digits(range(5, 10), training, root / "held-out")
    before = _stage(
        client,
        "qat pre-training",
        "0-4",
        {
            "name": "pre-training on digits 0-4",
            "dataset": "digits",
            "classes": ["0", "1", "2", "3", "4"],
            "architecture": ARCHITECTURE,
            "method": {"name": "qat"},
            "training": {"epochs": 6, "batch_size": 64, "learning_rate": 3e-3, "head_learning_rate": 3e-3, "seed": 7},
        },
        as_json=as_json,
    )
    uploaded = client.datasets.upload(training, name="digits 5-9")
    say(f"Uploaded {uploaded.images} images of the digits 5 to 9 as the data set {uploaded.id}")
    after = _stage(
        client,
        "fqt fine-tuning",
        "5-9",
        {
            "name": "fine-tuning on digits 5-9",
            "dataset": uploaded.id,
            "architecture": ARCHITECTURE,
            "method": {"name": "fqt", "bits": 4},
            "initial_weights": before.job.id,
            "training": {"epochs": 8, "batch_size": 64, "learning_rate": 3e-3, "head_learning_rate": 3e-3, "seed": 7},
        },
        as_json=as_json,
    )
    return [before, after], held_out


def _stage(client: Client, title: str, digits: str, spec: dict[str, Any], *, as_json: bool) -> Stage:
    job = client.jobs.create(spec)
    job = follow(client, job, view_for(job, as_json=as_json, title=title))
    if job.state != "succeeded":
        reason = f": {job.error.message}" if job.error else ""
        raise JobFailedError(f"{title} {job.state}{reason}", job_id=job.id, state=job.state)
    return Stage(title, digits, job, client.jobs.artifact(job.id, "model"))
