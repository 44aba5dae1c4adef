"""What a finished run leaves: a model that predicts the same, weights to go on from, and a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fqt_core import export
from fqt_core.config import Method, Resnet18
from fqt_core.events import AnyEvent, ArtifactWritten, Done
from fqt_core.files import file_sha256
from fqt_core.training import Session, prepare

from .nets import config, pictures


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, list[AnyEvent], Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run") / "artifacts"
    session = prepare(
        architecture=Resnet18(width=0.125, image_size=8, channels=1),
        method=Method("fqt"),
        training=config(epochs=4, batch_size=24),
        data=pictures(90),
        device="cpu",
    )
    return session, list(session.run(folder, spec={"name": "a test"})), folder


def test_artifacts_come_before_the_end(finished: tuple[Session, list[AnyEvent], Path]) -> None:
    _, events, folder = finished
    assert [event.type for event in events[-4:]] == ["artifact", "artifact", "artifact", "done"]
    for event, name in zip(events[-4:], ("model.safetensors", "weights.safetensors", "report.json"), strict=False):
        assert isinstance(event, ArtifactWritten)
        path = folder / name
        assert (event.kind, event.path) == (path.stem, str(path))
        assert (event.sha256, event.size) == (file_sha256(path), path.stat().st_size)
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "report.json", "weights.safetensors"]


def test_the_file_predicts_what_the_trained_network_does(finished: tuple[Session, list[AnyEvent], Path]) -> None:
    session, events, folder = finished
    data = session.trainer.data
    done = events[-1]
    assert isinstance(done, Done)
    loaded = export.load(folder / "model.safetensors")
    assert loaded.classes == session.dataset.classes
    assert loaded.spec == {"name": "a test"}
    held = session.dataset.images[data.split.validation]
    labels = session.dataset.labels[data.split.validation]
    predicted = [loaded.classes.index(row.label) for row in loaded.predict(held)]
    right = sum(int(a == b) for a, b in zip(predicted, labels.tolist(), strict=True))
    assert right / len(held) == done.validation_accuracy
    with torch.no_grad():
        logits = session.model(data.preprocessing(torch.from_numpy(held)))
    assert logits.argmax(1).tolist() == predicted


def test_the_report_says_what_was_done(finished: tuple[Session, list[AnyEvent], Path]) -> None:
    session, events, folder = finished
    report = json.loads((folder / "report.json").read_text())
    assert report["result"] == events[-1].model_dump(mode="json", exclude={"type"})
    assert (report["job"], report["spec"]) == (None, {"name": "a test"})
    assert report["conversion"]["layers"] == session.conversion.to_json()
    assert report["data"]["split"] == {
        "seed": 5,
        "own_validation": False,
        "sha256": session.trainer.data.split.digest,
    }
    assert report["sizes"]["bytes"] == (folder / "model.safetensors").stat().st_size
    assert report["initial_weights"] is None


def test_a_stopped_run_leaves_no_artifacts(tmp_path: Path) -> None:
    session = prepare(
        architecture=Resnet18(width=0.0625, image_size=8, channels=1),
        method=Method("qat"),
        training=config(),
        data=pictures(60),
        should_stop=lambda: True,
        device="cpu",
    )
    assert [event.type for event in session.run(tmp_path / "artifacts")] == ["started", "stopped"]
    assert not (tmp_path / "artifacts").exists()
