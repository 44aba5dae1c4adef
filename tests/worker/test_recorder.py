"""What a recorder keeps of what a child reports, and what it makes of files that are not as reported."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from fqt_core.events import ArtifactWritten, CheckpointWritten, EpochDone
from jobs import checkpoints
from jobs.records import Checkpoint
from jobs.store import Store
from tests.jobs.helpers import claim, submit
from tests.worker.helpers import log
from worker.journal import Journal
from worker.recorder import ForeignFileError, Recorder, ReplacedFileError


@pytest.fixture
def recorder(quick_store: Store, tmp_path: Path) -> Recorder:
    submit(quick_store, checkpoints={"keep_last": 1, "keep_best": True})
    job = claim(quick_store)
    assert job is not None
    folder = tmp_path / "child"
    folder.mkdir()
    return Recorder(quick_store, job, Journal(quick_store, job, threading.Event()), folder)


def written(path: Path, content: bytes, step: int) -> CheckpointWritten:
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return CheckpointWritten(step=step, epoch=step / 5, path=str(path), sha256=digest, size=len(content))


def epoch_done(step: int, accuracy: float, best: bool) -> EpochDone:
    return EpochDone(
        epoch=step // 5, step=step, train_loss=0.1, train_accuracy=0.9, validation_loss=0.2,
        validation_accuracy=accuracy, best=best, learning_rate=0.1, images_per_second=100, seconds=1,
    )  # fmt: skip


def kept(store: Store, recorder: Recorder) -> list[Checkpoint]:
    with store.read() as connection:
        return checkpoints.list_checkpoints(connection, recorder._job.id)


def test_the_checkpoint_of_the_best_epoch_is_kept_beside_the_newest(quick_store: Store, recorder: Recorder) -> None:
    folder = recorder._folder
    recorder.take([epoch_done(5, 0.75, best=True), written(folder / "5", b"five", 5)])
    recorder.take([epoch_done(10, 0.5, best=False), written(folder / "10", b"ten", 10)])
    recorder.take([epoch_done(15, 0.5, best=False), written(folder / "15", b"fifteen", 15)])
    newest, best = kept(quick_store, recorder)
    assert (newest.step, "best" in newest.details) == (15, False)
    assert (best.step, best.details["best"], best.details["validation_accuracy"]) == (5, True, 0.75)
    assert list(folder.iterdir()) == []


def test_a_checkpoint_that_the_child_removed_or_wrote_again_is_left_out_and_the_next_one_counts(
    quick_store: Store, recorder: Recorder
) -> None:
    """What happens while the database is slow: the child goes on, and its own folder holds the newest few only."""
    folder = recorder._folder
    gone = written(folder / "5", b"five", 5)
    (folder / "5").unlink()
    first = written(folder / "10", b"ten", 10)
    again = written(folder / "10", b"ten, and a little later", 10)
    recorder.take([gone, first, again])
    [row] = kept(quick_store, recorder)
    assert (row.step, row.sha256) == (10, again.sha256)
    left_out = [event.data["message"] for event in log(quick_store, row.job_id) if event.type == "log"]
    assert ["5 was removed" in left_out[0], "10 has SHA-256" in left_out[1], len(left_out)] == [True, True, 2]


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_checkpoint_that_the_child_removes_while_it_is_looked_at_is_left_out(
    quick_store: Store, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    left = looks
    going, stays = written(recorder._folder / "5", b"five", 5), written(recorder._folder / "10", b"ten", 10)
    real = Path.stat

    def look(path: Path, **options: bool) -> os.stat_result:
        nonlocal left
        found = real(path, **options)
        if path.name == "5":
            left -= 1
            if left == 0:
                path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", look)
    recorder.take([going, stays])
    assert kept(quick_store, recorder)[0].step == 10


def test_result_files_must_be_there_as_reported_and_in_the_childs_folder(recorder: Recorder, tmp_path: Path) -> None:
    (recorder._folder / "model").write_bytes(b"bytes")
    for path, error in (("model", ReplacedFileError), ("none", ReplacedFileError), (str(tmp_path), ForeignFileError)):
        with pytest.raises(error):
            recorder.take([ArtifactWritten(kind="model", path=path, sha256="0" * 64, size=5)])
