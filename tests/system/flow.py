"""The main job as a person does it on the command line: upload, submit, watch, fine-tune, fetch, predict."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from sklearn.datasets import load_digits

Fqt = Callable[..., subprocess.CompletedProcess[str]]

SMALL = [
    "--architecture",
    "resnet18",
    "--width",
    "0.0625",
    "--image-size",
    "8",
    "--channels",
    "1",
    "--batch-size",
    "32",
]


def write_photos(folder: Path, digits: range, each: int) -> None:
    """Real images, one folder per class."""
    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype("uint8")
    for digit in digits:
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(pixels[bunch.target == digit][:each]):
            Image.fromarray(image).save(folder / str(digit) / f"{index}.png")


def whole_flow(fqt: Fqt, home: Path) -> None:
    """Go through it all; ``fqt`` runs one command line in ``home``."""

    def ask(*arguments: str) -> Any:
        run = fqt(*arguments, "--json")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    # Own images: uploaded, looked through by a worker, ready.
    write_photos(home / "photos", range(5, 8), 40)
    dataset = ask("datasets", "add", "photos", "--name", "three digits")
    assert dataset["state"] == "ready"
    assert dataset["profile"]["images"] == 120
    assert dataset["id"] in {entry["id"] for entry in ask("datasets", "list")}

    # What is wrong is said before anything is queued, every field at once.
    refused = fqt("submit", "--dataset", dataset["id"], "--epochs", "0", "--bits", "3", "--set", "training.bogus=1")
    assert refused.returncode == 4
    assert all(field in refused.stderr for field in ("training.epochs", "method.bits", "training.bogus"))
    plan = ask("submit", "--dataset", dataset["id"], *SMALL, "--epochs", "2", "--dry-run")
    assert plan["steps"] == 2 * plan["steps_per_epoch"]
    assert ask("jobs") == []

    # Pre-training, followed to its end; the exit code and the last line say how it ended.
    arguments = ["--dataset", "digits", "--classes", "0,1,2", *SMALL, "--method", "qat", "--epochs", "2", "--seed", "7"]
    watched = fqt("submit", *arguments, "--idempotency-key", "once", "--watch", "--json")
    assert watched.returncode == 0, watched.stdout + watched.stderr
    first, *events, job = [json.loads(line) for line in watched.stdout.splitlines()]
    assert job["state"] == "succeeded"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert {"state", "metric", "checkpoint", "artifact"} <= {event["type"] for event in events}
    epochs = [event["data"] for event in events if event["data"].get("kind") == "epoch"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]

    # The same request once more is the same job, not a second one.
    again = ask("submit", *arguments, "--idempotency-key", "once")
    assert again["id"] == first["id"] == job["id"]
    assert len(ask("jobs")) == 1

    # Fine-tuning on one's own images from those weights, with a head of its own; watched as a person sees it in a pipe.
    tuned = fqt(
        "submit", "-d", dataset["id"], *SMALL, "-m", "fqt", "--bits", "4", "-e", "2", "--from", "last", "--watch"
    )
    assert tuned.returncode == 0, tuned.stdout + tuned.stderr
    assert "accuracy" in tuned.stdout.splitlines()[-1]
    newest = ask("show", "last")
    assert newest["spec"]["initial_weights"] == job["id"]
    assert newest["record"]["arithmetic"] == "integer"

    # The files, and a prediction with the packed model: once from the file, once by the job's id.
    files = {entry["kind"]: entry for entry in ask("fetch", "last", "-o", "out")}
    assert {"model", "weights", "report"} <= set(files)
    assert files["model"]["size"] < files["weights"]["size"]
    predicted = ask("predict", files["model"]["path"], "photos/5")
    assert len(predicted["predictions"]) == 40
    assert predicted["classes"] == ["5", "6", "7"]
    by_job = ask("predict", newest["id"], "photos/5")
    assert by_job["predictions"] == predicted["predictions"]

    # The same model from the registry: predicted in the service and on this machine, and its file fetched.
    (model, _) = ask("models", "list")
    assert (model["lineage"]["job"], model["sha256"]) == (newest["id"], files["model"]["sha256"])
    images = ["photos/5/0.png", "photos/6/0.png"]
    served = ask("models", "predict", model["id"], *images)["predictions"]
    local = ask("predict", model["id"], *images)["predictions"]
    assert [row["label"] for row in served] == [row["label"] for row in local]
    fetched = ask("models", "download", model["id"], "-o", "registry.safetensors")
    assert (home / fetched["path"]).read_bytes() == (home / files["model"]["path"]).read_bytes()
    assert ask("models", "show", model["id"], "--card")["card"] == (home / files["card"]["path"]).read_text()

    # A data set with a broken image: refused with the place, and nothing of it is left behind.
    (home / "photos" / "6" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no image")
    refused = fqt("datasets", "add", "photos")
    assert refused.returncode == 4
    assert "6/broken.png" in refused.stderr
    assert len([entry for entry in ask("datasets", "list") if not entry["builtin"]]) == 1

    # A job that is cancelled ends as such, and watching it says so by its exit code.
    long = ask("submit", "--dataset", dataset["id"], *SMALL, "--epochs", "5000")
    ask("cancel", long["id"])
    watched = fqt("watch", long["id"])
    assert watched.returncode == 1
    assert "cancelled" in watched.stdout.splitlines()[-1]
