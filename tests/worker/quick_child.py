"""A child of two steps that says everything it has to say by itself: ``python -S quick_child.py FOLDER --events FD``.

Without the libraries that ``fake_child`` loads it takes a tenth of the time, for tests that run many. Its result is the
same chain of digests.
"""

import hashlib
import json
import os
import sys

folder, events = sys.argv[1], int(sys.argv[3])


def say(**message: object) -> None:
    os.write(events, json.dumps(message).encode() + b"\n")


def file(name: str, content: bytes) -> dict[str, object]:
    path = os.path.join(folder, name)  # noqa: PTH118 - pathlib is among what takes long to load
    with open(path, "wb") as target:  # noqa: PTH123
        target.write(content)
    return {"path": path, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


with open(os.path.join(folder, "job.json")) as source:  # noqa: PTH118, PTH123
    job = json.load(source)
step, chain = 0, "start"
if job["resume_from"]:
    with open(job["resume_from"]) as source:  # noqa: PTH123
        step, chain = json.load(source)
say(
    type="started", step=step, total_steps=2, steps_per_epoch=1, epochs=2, train_images=80, validation_images=20,
    classes=["0", "1"], parameters=10, binary_parameters=8, arithmetic="integer", isa="reference", threads=1,
    device="cpu", report=[],
)  # fmt: skip
while step < 2:
    step += 1
    chain = hashlib.sha256(f"{chain} {step}".encode()).hexdigest()
    say(type="step", step=step, epoch=step, loss=1 / step, learning_rate=0.1, images_per_second=100)
    say(type="checkpoint", step=step, epoch=step, **file(f"checkpoint-{step}", json.dumps([step, chain]).encode()))
say(type="artifact", kind="model", **file("model.safetensors", chain.encode()))
say(
    type="done", reason="completed", step=step, epochs=2, best_epoch=2, validation_accuracy=0.8, validation_loss=0.2,
    train_accuracy=0.9, seconds=1,
)  # fmt: skip
