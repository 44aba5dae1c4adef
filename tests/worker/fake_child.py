"""A child that plays a script instead of training: quick, without torch, but with the real protocol.

The script is JSON in the spec's name. Its state is a chain of digests over the steps, so that its result tells whether
it was resumed rightly: ``python fake_child.py FOLDER --events FD``.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

from fqt_core.events import (
    ArtifactWritten,
    CheckpointWritten,
    Done,
    EpochDone,
    Failed,
    GradientTelemetry,
    LogLine,
    Started,
    StepDone,
    Stopped,
)
from worker.lifeline import Lifeline
from worker.protocol import Exit, TrainingInput


def written(path: Path, content: bytes) -> dict[str, object]:
    path.write_bytes(content)
    return {"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def main(folder: Path, events: int) -> int:
    line = Lifeline(events)
    line.listen()
    data = TrainingInput.model_validate_json((folder / "job.json").read_bytes())
    script = {"steps": 10, "pause": 0.0, "every": 5} | json.loads(data.spec.name or "{}")
    step, chain = 0, "start"
    if data.resume_from is not None:
        step, chain = json.loads(Path(data.resume_from).read_bytes())
    line.send(
        Started(
            step=step, total_steps=script["steps"], steps_per_epoch=script["every"], epochs=2, train_images=80,
            validation_images=20, classes=["0", "1"], parameters=10, binary_parameters=8, arithmetic="integer",
            isa="reference", threads=data.threads, device="cpu", report=[{"name": "conv1", "action": "kept"}],
        )
    )  # fmt: skip
    print("the fake child says hello", flush=True)

    def checkpoint() -> None:
        content = json.dumps([step, chain]).encode()
        line.send(CheckpointWritten(step=step, epoch=step / 5, **written(folder / f"checkpoint-{step}", content)))

    first = data.resume_from is None
    while step < script["steps"]:
        if line.cancel.is_set() and not script.get("deaf"):
            return Exit.CANCELLED
        if line.stop.is_set() and not script.get("deaf"):
            checkpoint()
            line.send(Stopped(step=step))
            return Exit.STOPPED
        step += 1
        chain = hashlib.sha256(f"{chain} {step}".encode()).hexdigest()
        if "stamp" in script:
            with Path(script["stamp"]).open("a") as stamps:
                stamps.write(f"{step}\n")
        loss = float("nan") if step == script.get("nan") else 1 / step
        line.send(StepDone(step=step, epoch=step / 5, loss=loss, learning_rate=0.1, images_per_second=100))
        if step % script["every"] == 0:
            checkpoint()
        if "fill" in script:
            (folder / f"filler-{step}").write_bytes(b"x" * script["fill"])
        if step == script.get("die") and (first or script.get("again")):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == script.get("exit"):
            print(script.get("say", "a traceback, say"), flush=True)
            return 1
        if step == script.get("abort"):
            print("terminate called after throwing an instance of 'std::bad_alloc'", flush=True)
            os.abort()
        if step == script.get("fail"):
            line.send(Failed(code="non_finite_gradient", message="layer conv1", param="training.learning_rate"))
            return Exit.FAILED
        if step == script.get("foreign"):
            line.send(CheckpointWritten(step=step, epoch=0, path="/etc/hostname", sha256="0" * 64, size=1))
        if step == script.get("garbage"):
            line._events.write(b"this is no event\n")
        time.sleep(script["pause"])
    line.send(GradientTelemetry(step=step, images=8, layers={"conv": {"dw_cosine": 0.5}}))
    line.send(LogLine(message="nearly done"))
    line.send(
        EpochDone(
            epoch=2, step=step, train_loss=0.1, train_accuracy=0.9, validation_loss=0.2, validation_accuracy=0.8,
            best=True, learning_rate=0.1, images_per_second=100, seconds=1,
        )
    )  # fmt: skip
    line.send(ArtifactWritten(kind="model", **written(folder / "model.safetensors", chain.encode())))
    line.send(
        Done(
            reason="completed", step=step, epochs=2, best_epoch=2, validation_accuracy=0.8, validation_loss=0.2,
            train_accuracy=0.9, seconds=1,
        )
    )  # fmt: skip
    return Exit.DONE


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[3])))
