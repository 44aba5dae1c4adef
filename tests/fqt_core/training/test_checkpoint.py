"""Checkpoints: atomic, verified, and refused when they are damaged or another run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fqt_core.config import AugmentConfig
from fqt_core.errors import CheckpointError
from fqt_core.events import CheckpointWritten
from fqt_core.files import file_sha256
from fqt_core.tensorfile import read_tensors, write_tensors
from fqt_core.training import Trainer, checkpoint
from fqt_core.training.checkpoint import read_checkpoint

from .nets import config, network, pictures, stop_after, train


@pytest.fixture
def written(tmp_path: Path) -> CheckpointWritten:
    event = stop_after(network("fqt"), config(), 9, tmp_path)[-2]
    assert isinstance(event, CheckpointWritten)
    return event


def test_event_describes_the_file(written: CheckpointWritten) -> None:
    path = Path(written.path)
    assert written.size == path.stat().st_size
    assert written.sha256 == file_sha256(path)
    assert written.epoch == pytest.approx(written.step / 5)
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


def test_floats_of_the_state_survive_exactly(written: CheckpointWritten, tmp_path: Path) -> None:
    found = read_checkpoint(Path(written.path))
    found.state.loss_sum = 0.1 + 0.2
    found.state.seconds = float(np.nextafter(1e9, 2e9))
    checkpoint.write_checkpoint(found, tmp_path / "again")
    assert read_checkpoint(tmp_path / "again").state == found.state


def test_a_failed_write_leaves_the_old_file(
    written: CheckpointWritten, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = Path(written.path)
    before, files = path.read_bytes(), sorted(path.parent.iterdir())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    found = read_checkpoint(path)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.write_checkpoint(found, path)
    assert path.read_bytes() == before
    assert sorted(path.parent.iterdir()) == files


@pytest.mark.parametrize("where", [0, 9, 2000, -1])
def test_a_changed_byte_is_found(written: CheckpointWritten, where: int) -> None:
    path = Path(written.path)
    content = bytearray(path.read_bytes())
    content[where] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        Trainer(network("fqt"), pictures(), config(), resume_from=path)


@pytest.mark.parametrize("keep", [0, 5, 100, 3000])
def test_a_cut_file_is_refused(written: CheckpointWritten, keep: int) -> None:
    path = Path(written.path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


def test_missing_pickled_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "nothing")
    torch.save(network().state_dict(), tmp_path / "pickle.pt")
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "pickle.pt")
    write_tensors(tmp_path / "weights", {"a": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="not a training checkpoint"):
        read_checkpoint(tmp_path / "weights")


def forge(path: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: Any) -> Path:
    """Change a checkpoint and give it a right digest again, as somebody who knows the format would."""
    flat, record = read_tensors(path)
    flat.update(tensors or {})
    record.update(metadata)
    record.pop("digest")
    record["digest"] = checkpoint._digest(record, flat)
    write_tensors(path, flat, record)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version 99"),
        ({"state": {"step": -1}}, "no valid run state"),
        ({"state": {"step": 3, "surprise": 1}}, "no valid run state"),
        ({"state": {"step": 7, "epoch": 1, "batch": 1}}, "step 7 is not where"),
        ({"state": {"step": 500, "epoch": 100}}, "beyond the end"),
        ({"state": {"step": 9, "batch": 9}}, "beyond the end"),
        ({"state": "x"}, "no valid run state"),
        ({"identity": []}, "which run"),
        ({"tensors": {"other/x": torch.zeros(1)}}, "unknown tensor"),
        ({"tensors": {"model/0.weight": torch.zeros(8, 1, 5, 5)}}, r"0\.weight is torch\.float32 \(8, 1, 5, 5\) there"),
        ({"tensors": {"model/0.weight": torch.zeros(8, 1, 3, 3).double()}}, "torch.float64"),
        ({"tensors": {"model/extra": torch.zeros(1)}}, "extra is not in this network"),
        ({"tensors": {"optimizer/0.weight/exp_avg": torch.zeros(1)}}, "optimiser state"),
        ({"tensors": {"optimizer/0.weight/surprise": torch.zeros(8, 1, 3, 3)}}, "does not belong"),
        ({"tensors": {"optimizer/nobody/exp_avg": torch.zeros(1)}}, "does not belong"),
        ({"tensors": {"signs/2": torch.zeros(3, dtype=torch.uint8)}}, "binarised layers"),
    ],
)
def test_forged_checkpoints_are_refused(written: CheckpointWritten, change: dict[str, Any], message: str) -> None:
    path = forge(Path(written.path), **change)
    with pytest.raises(CheckpointError, match=message):
        Trainer(network("fqt"), pictures(), config(), resume_from=path)


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"wanted": config(epochs=4)}, "training.epochs: 3 in the checkpoint, 4 now"),
        ({"wanted": config(augment=AugmentConfig(pad_crop=2))}, "training.augment.pad_crop: 1 in"),
        ({"wanted": config(seed=6)}, "training.seed: 5 in the checkpoint, 6 now"),
        ({"data": pictures(seed=4)}, "data: "),
        ({"model": network("qat")}, "methods: "),
        ({"model": network("fqt", bits=2)}, "methods: "),
        ({"model": network("fp32")}, "methods: "),
    ],
)
def test_another_run_is_refused_with_what_differs(
    written: CheckpointWritten, difference: dict[str, Any], message: str
) -> None:
    wanted = difference.get("wanted", config())
    with pytest.raises(CheckpointError, match="belongs to another run") as caught:
        Trainer(
            difference.get("model", network("fqt")),
            difference.get("data", pictures()),
            wanted,
            resume_from=written.path,
        )
    assert message in str(caught.value)


def test_another_network_is_refused(written: CheckpointWritten) -> None:
    model = network("fqt")
    model[9] = nn.Sequential(nn.Linear(32, 32))
    with pytest.raises(CheckpointError, match=r"weights do not fit this network: 9\.0\.bias is missing"):
        Trainer(model, pictures(), config(), resume_from=written.path)


def test_when_things_are_reported_may_change(written: CheckpointWritten) -> None:
    events = train(network("fqt"), config(checkpoint_every_steps=3, statistics_every_steps=7), resume_from=written.path)
    assert events[-1].type == "done"


def test_nothing_in_the_file_is_pickled(written: CheckpointWritten) -> None:
    content = Path(written.path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert {entry["dtype"] for name, entry in header.items() if name != "__metadata__"} <= {"F32", "I64", "U8"}


def test_tied_weights_are_kept(tmp_path: Path) -> None:
    model = network()
    model[5] = model[2]
    wanted = config(epochs=1)
    events = stop_after(model, wanted, 3, tmp_path)
    again = network(seed=2)
    again[5] = again[2]
    train(again, wanted, resume_from=events[-2].path)  # type: ignore[union-attr]
    train(plain := _tied(), wanted)
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), again.state_dict().values(), strict=True))


def _tied() -> nn.Module:
    model = network()
    model[5] = model[2]
    return model
