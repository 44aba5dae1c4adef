"""The real child: tiny training jobs, from a claim to files that predict; resume after kill -9 with the same bits."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from structlog.testing import capture_logs

import worker
from fqt_core import errors
from jobs import artifacts, datasets, imports, lease, metrics, model_card, models
from jobs.records import Job, Model
from jobs.settings import Settings
from jobs.store import Store
from jobs.tables import DEFAULT_ORGANISATION
from tests.jobs.helpers import claim, get, submit
from tests.worker.helpers import QUICK, children, log, moves, pause, reached, step, until
from tests.worker.processes import REAL, Bell, Process
from worker.child_errors import UnusableInputError, explain
from worker.inspection import Inspector
from worker.protocol import Exit
from worker.slots import Slots
from worker.supervisor import TRAINING_COMMAND

SMALL: dict[str, Any] = {"epochs": 1, "batch_size": 32, "learning_rate": 3e-3, "checkpoint_every_steps": 4, "seed": 3}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    # Patient: what is tested is not the timing, and machines that test are busy.
    return Settings(data_dir=tmp_path / "data", **(QUICK | {"lease_seconds": 60, "heartbeat_seconds": 2}))


def run(store: Store) -> None:
    Slots(store, threading.Event(), TRAINING_COMMAND).work()


def small(store: Store, **changes: Any) -> Job:
    return submit(store, **({"classes": ["0", "1"], "training": SMALL} | changes))


def images(store: Store) -> str:
    """Upload 64 images of two classes, and have them looked through by the real inspection."""
    generator = np.random.default_rng(0)
    labels = np.arange(64) % 2
    pixels = (generator.integers(0, 200, (64, 8, 8)) + 50 * labels[:, None, None]).astype(np.uint8)
    archive = io.BytesIO()
    np.savez(archive, images=pixels, labels=labels)
    blob = store.blobs.put_stream([archive.getvalue()])
    with store.write() as connection:
        dataset = datasets.create(connection, store.blobs, blob, name="mine")
    assert Inspector(store, threading.Event()).run(dataset.id)
    return dataset.id


def digests(store: Store, job_id: str) -> dict[str, str]:
    with store.read() as connection:
        rows = artifacts.list_artifacts(connection, job_id)
    return {row.name: row.sha256 for row in rows}


def registered(store: Store, job_id: str) -> Model:
    with store.read() as connection:
        (row,) = models.list_models(connection, organisation=DEFAULT_ORGANISATION, job_id=job_id).data
        return models.get(connection, row.id, organisation=DEFAULT_ORGANISATION)


def messages(store: Store, job_id: str) -> str:
    return json.dumps([event.data for event in log(store, job_id)])


def photos(folder: Path) -> Path:
    """64 images of two classes, as files."""
    generator = np.random.default_rng(0)
    for number in range(64):
        pixels = (generator.integers(0, 200, (8, 8)) + 50 * (number % 2)).astype(np.uint8)
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def test_a_job_trains_on_a_mounted_folder_as_long_as_it_is_what_was_looked_through(
    settings: Settings, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos")
    store = Store.open(settings.model_copy(update={"dataset_folders": f"photos={folder}"}), migrate=True)
    with store.write() as connection:
        row = imports.from_folder(connection, "photos", name=None, organisation="org_default")
    assert Inspector(store, threading.Event()).run(row.id)
    with store.read() as connection:
        row = datasets.get(connection, row.id)
    assert (row.name, row.state) == ("photos", "ready"), row.error
    assert row.size == sum(path.stat().st_size for path in folder.rglob("*.png"))
    changes: dict[str, Any] = {"dataset": row.id, "classes": None, "training": SMALL | {"epochs": 8}}
    whole = small(store, **changes)
    run(store)
    assert get(store, whole.id).state == "succeeded", get(store, whole.id).error

    broken_off, draining = small(store, **changes), threading.Event()
    thread = threading.Thread(target=Slots(store, draining, TRAINING_COMMAND).work)
    thread.start()
    until(lambda: step(store, broken_off.id) >= 4, 60)
    draining.set()
    thread.join(60)
    assert get(store, broken_off.id).state == "queued"
    for path in folder.rglob("*.png"):  # the same bytes, put back from a backup
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    run(store)
    assert moves(store, broken_off.id).count("running") == 2
    same = ("model.safetensors", "weights.safetensors")
    first, second = (digests(store, job.id) for job in (whole, broken_off))
    assert [first[name] for name in same] == [second[name] for name in same]

    late = small(store, **changes)
    Image.new("L", (8, 8), 7).save(folder / "a" / "0.png")
    run(store)
    error = get(store, late.id).error
    assert error is not None
    assert (error["code"], error["param"]) == ("dataset_changed", "dataset")
    assert "files 1 changed (a/0.png)" in error["message"]

    gone = small(store, **changes)
    folder.rename(tmp_path / "elsewhere")
    run(store)
    error = get(store, gone.id).error
    assert error is not None
    assert error["code"] == "folder_missing"
    assert str(tmp_path) not in error["message"], "where it is on the worker is nobody's business"
    store.close()


@pytest.mark.slow
def test_a_worker_process_trains_a_job_and_another_that_goes_on_from_its_weights(store: Store, valkey_url: str) -> None:
    process, bell = Process(store.settings, REAL, broker_url=valkey_url), Bell(valkey_url)
    first = small(store, method={"name": "qat"})
    bell.ring_job(first.id, first.queue)
    reached(store, first.id, "succeeded", "failed", seconds=100)
    job = get(store, first.id)
    assert job.state == "succeeded", (job.error, messages(store, job.id))
    assert job.result is not None
    assert job.record is not None
    assert job.result["validation_accuracy"] > 0.5
    assert job.result["train_images"] + job.result["validation_images"] == 360
    assert (job.record["threads"], job.record["device"], job.record["arithmetic"]) == (1, "cpu", "float")
    assert job.record["limits"]["no_new_privileges"] is True
    files = digests(store, first.id)
    assert files.keys() == {"model.safetensors", "weights.safetensors", "report.json", "examples.webp", "card.md"}
    report = json.loads(store.blobs.path(files["report.json"]).read_text())
    assert report["sizes"]["ratio"] > 1
    assert report["conversion"]["layers"] == job.record["report"]
    confusion = job.result["confusion"]
    right = sum(row[index] for index, row in enumerate(confusion["matrix"]))
    assert (report["result"]["confusion"], confusion["images"]) == (confusion, job.result["validation_images"])
    assert right / confusion["images"] == pytest.approx(job.result["validation_accuracy"])

    second = small(store, classes=["2", "3", "4"], initial_weights=first.id)
    bell.ring_job(second.id, second.queue)
    reached(store, second.id, "succeeded", "failed", seconds=100)
    options = {"optimizer": "muon", "ema": {"decay": 0.9}, "accumulate": 2, "distillation": {"weight": 0.7}}
    third = small(store, classes=["2", "3", "4"], teacher=second.id, training=SMALL | options)
    bell.ring_job(third.id, third.queue)
    reached(store, third.id, "succeeded", "failed", seconds=100)
    assert process.end() == 0
    bell.celery.close()
    job = get(store, second.id)
    assert job.state == "succeeded", (job.error, messages(store, job.id))
    assert job.record is not None
    assert job.result is not None
    assert job.record["arithmetic"] == "integer"
    assert f"tensors from {first.id}" in messages(store, second.id)
    made = registered(store, second.id)
    assert (made.id, made.parent_id) == (job.result["model"], registered(store, first.id).id)
    assert (made.sha256, made.weights_sha256) == tuple(
        digests(store, second.id)[name] for name in ("model.safetensors", "weights.safetensors")
    )
    assert (made.facts["arithmetic"], made.facts["classes"]) == ("integer", ["2", "3", "4"])
    assert (
        model_card.render(asdict(made)).encode()
        == store.blobs.verify(digests(store, second.id)["card.md"]).read_bytes()
    )
    taught = get(store, third.id)
    assert taught.state == "succeeded", (taught.error, messages(store, third.id))
    assert taught.teacher_sha256 == digests(store, second.id)["model.safetensors"]

    from fqt_core import export
    from fqt_core.data import load_dataset
    from fqt_core.data.split import split_dataset

    # The store keeps files without names; the loader does not mind. What the file predicts is what was reported.
    model = export.load(store.blobs.verify(digests(store, second.id)["model.safetensors"]))
    assert model.classes == ["2", "3", "4"]
    data = load_dataset("digits", classes=model.classes, channels=1, image_size=8)
    held = split_dataset(data, job.spec.training.validation_fraction, job.spec.training.seed).validation
    predicted = model.predict(data.images[held])
    right = [p.label == data.classes[label] for p, label in zip(predicted, data.labels[held], strict=True)]
    assert job.result is not None
    assert sum(right) / len(right) == pytest.approx(job.result["validation_accuracy"])


def test_a_job_whose_layers_multiply_bytes_leaves_a_model_that_predicts(store: Store) -> None:
    job = small(store, dataset=images(store), classes=None, training=SMALL, method={"name": "unified-int8"})
    run(store)
    done = get(store, job.id)
    assert done.state == "succeeded", done.error
    assert done.result is not None
    # Batches of floats and a network: more than nothing, and less than the process with torch had before.
    assert 1 << 20 < done.result["memory_bytes"] < 128 << 20
    [started] = [event.data["started"] for event in log(store, job.id) if "started" in event.data]
    assert started["arithmetic"] == "integer"

    from fqt_core import export

    model = export.load(store.blobs.verify(digests(store, job.id)["model.safetensors"]))
    assert model.method.name == "unified-int8"
    [prediction] = model.predict(np.zeros((1, 1, 8, 8), dtype=np.uint8))
    assert prediction.label in model.classes


def test_a_search_finds_a_network_that_an_ordinary_job_trains(store: Store) -> None:
    network = {"name": "convnet", "width": 0.25, "image_size": 8, "channels": 1}
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01}
    search = {"name": "nce", "parameters_budget": 0.9}
    data = images(store)
    found = small(
        store,
        dataset=data,
        classes=None,
        architecture=network,
        method={"name": "qat"},
        training=training,
        search=search,
    )
    run(store)
    done = get(store, found.id)
    assert done.state == "succeeded", done.error
    assert done.record is not None
    assert done.result is not None
    structure = done.record["structure"]
    assert (done.record["arithmetic"], "model" in done.result) == ("simulated", False)
    assert structure["parameters"] <= structure["parameters_budget"] < done.result["parameters"]
    written = store.blobs.path(digests(store, found.id)["structure.json"]).read_text()
    assert json.loads(written) == structure
    assert "found widths: conv 8 to 8" in messages(store, found.id)
    with store.read() as connection:
        curves = {curve.name: curve for curve in metrics.series(connection, found.id, kind="search")}
    assert {f"{layer}/widest_probability" for layer in structure["widths"]} < curves.keys()
    assert curves["network/macs_of_budget"].steps == [8, 10, 12, 14]  # every other step of the second epoch

    trained = small(store, dataset=data, classes=None, architecture=structure["architecture"], training=training)
    run(store)
    after = get(store, trained.id)
    assert after.state == "succeeded", after.error
    assert after.result is not None
    assert after.result["parameters"] == structure["parameters"]


def test_kill_9_of_the_child_changes_nothing_in_the_result(store: Store) -> None:
    """With bits that are chosen before the first step: the second attempt goes on with the choice of the first."""
    work = {
        "dataset": images(store),
        "classes": None,
        "training": SMALL | {"epochs": 2, "batch_size": 8},
        "method": {"name": "fqt", "bits": "auto", "budget": 2},
    }
    calm = small(store, **work)
    run(store)
    assert get(store, calm.id).state == "succeeded", get(store, calm.id).error
    hit = small(store, **work)
    slots = Slots(store, threading.Event(), TRAINING_COMMAND)
    thread = threading.Thread(target=slots.work)
    thread.start()
    until(lambda: step(store, hit.id) >= 5, 150)
    os.kill(children(os.getpid())[0], signal.SIGKILL)
    reached(store, hit.id, "succeeded", "failed", seconds=90)
    thread.join()
    assert moves(store, hit.id) == ["queued", "running", "queued", "running", "succeeded"]
    starts = [event.data["started"]["step"] for event in log(store, hit.id) if "started" in event.data]
    assert starts[1] >= 4
    choices = [event.data["bits_chosen"] for event in log(store, hit.id) if "bits_chosen" in event.data]
    record = get(store, hit.id).record
    assert record is not None
    assert choices == [record["bits_chosen"]] * 2
    assert choices[0]["average_bits"] <= 2
    report = json.loads(store.blobs.path(digests(store, hit.id)["report.json"]).read_text())
    assert report["method"] == choices[0]["method"]
    first, second = digests(store, calm.id), digests(store, hit.id)
    assert first["weights.safetensors"] == second["weights.safetensors"]
    assert first["model.safetensors"] == second["model.safetensors"]


def test_a_pause_is_heeded_while_bits_are_chosen(store: Store) -> None:
    """The probe of this network takes far longer than a child may take to end; one layer of it, far less."""
    store = replace(store, settings=store.settings.model_copy(update={"stop_grace_seconds": 20.0}))
    wide = {"name": "resnet18", "width": 1, "image_size": 32, "channels": 1}
    job = small(store, architecture=wide, method={"name": "fqt", "bits": "auto"})
    thread = threading.Thread(target=lambda: run(store))
    with capture_logs() as logged:
        thread.start()
        until(lambda: any("choosing the bits" in str(event.data) for event in log(store, job.id)), 60)
        pause(store, job.id)
        reached(store, job.id, "paused", seconds=60)
        thread.join()
    assert moves(store, job.id) == ["queued", "running", "pausing", "paused"]
    assert get(store, job.id).failures == 0
    assert not any("started" in event.data for event in log(store, job.id))
    (ended,) = (line for line in logged if line["event"] == "child ended")
    assert ended["code"] == Exit.STOPPED  # by itself, not by a signal


def test_a_teacher_of_another_version_ends_the_job_with_a_clear_record(store: Store) -> None:
    teacher = small(store).id
    assert claim(store) is not None
    blob = store.blobs.put_stream([b"no model"])
    with store.write() as connection:
        artifacts.add(connection, store.blobs, teacher, 1, blob, name="model.safetensors", kind="model")
        lease.succeed(connection, teacher, 1, {"classes": ["0", "1"]})
    job = small(store, teacher=teacher)
    run(store)
    job = get(store, job.id)
    assert job.error is not None
    assert (job.state, job.error["code"], job.error["param"]) == ("failed", "teacher_unusable", "teacher")


def test_a_gpu_that_is_not_there_ends_the_job_with_a_clear_record(store: Store) -> None:
    job = small(store, device="cuda")
    object.__setattr__(store, "settings", store.settings.model_copy(update={"queues": "cpu,cuda"}))
    run(store)
    job = get(store, job.id)
    assert job.error is not None
    assert (job.state, job.error["code"], job.error["param"]) == ("failed", "no_cuda", "device")
    assert moves(store, job.id) == ["queued", "running", "failed"]


def test_memory_that_runs_out_ends_the_job_at_its_first_attempt(store: Store) -> None:
    object.__setattr__(store, "settings", store.settings.model_copy(update={"child_memory_bytes": 1 << 30}))
    job = small(store, architecture={"name": "resnet18", "image_size": 96}, training=SMALL | {"batch_size": 360})
    run(store)
    job = get(store, job.id)
    assert job.error is not None
    assert (job.state, job.error["code"], job.error["param"]) == ("failed", "out_of_memory", "training.batch_size")
    assert "smaller batch_size" in job.error["message"]
    assert moves(store, job.id) == ["queued", "running", "failed"]


@pytest.mark.parametrize(
    "allocate",
    ["torch.empty(1 << 31)", "torch.ones(1 << 14).view(-1, 1) @ torch.ones(1, 1 << 15)", "bytearray(1 << 31)"],
)
def test_a_real_allocation_that_fails_is_recognised(allocate: str) -> None:
    code = (
        "import resource, torch\n"
        "from worker.child_errors import explain\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
        f"try:\n    {allocate}\n"
        "except Exception as error:\n    print(explain(error).code, flush=True)"
    )
    root = str(Path(worker.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=False)
    assert done.stdout == b"out_of_memory\n", done.stderr.decode()[-400:]


NO_ROOM = "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (errors.NonFiniteGradientError("conv1", 3), "non_finite_gradient", "training.learning_rate"),
        (errors.NonFiniteLossError("conv1", 3), "non_finite_loss", "training.learning_rate"),
        (errors.DataError("bad", where="a.png"), "dataset_unusable", "dataset"),
        (errors.ConversionError("nothing to convert"), "cannot_convert", "method"),
        (errors.CheckpointError("of another version"), "checkpoint_unusable", None),
        (MemoryError(), "out_of_memory", "training.batch_size"),
        (RuntimeError(NO_ROOM), "out_of_memory", "training.batch_size"),
        (RuntimeError("std::bad_alloc"), "out_of_memory", "training.batch_size"),
        (OSError(12, "Cannot allocate memory"), "out_of_memory", "training.batch_size"),
        (OSError(27, "File too large"), "out_of_disk", None),
        (UnusableInputError("no", "no_cuda", "device"), "no_cuda", "device"),
    ],
)
def test_what_the_library_refuses_is_told_with_the_field_to_mend(
    error: Exception, code: str, param: str | None
) -> None:
    failed = explain(error)
    assert failed is not None
    assert (failed.code, failed.param) == (code, param)
    assert failed.message


@pytest.mark.parametrize("error", [RuntimeError("shapes cannot be multiplied"), OSError(28, "disk full")])
def test_what_may_pass_is_left_to_another_attempt(error: Exception) -> None:
    assert explain(error) is None


def test_the_workers_own_process_loads_no_torch() -> None:
    code = (
        "import sys, worker.app, worker.child, worker.inspect_child\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules), sorted(set(sys.modules))"
    )
    root = str(Path(worker.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-400:]
