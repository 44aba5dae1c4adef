"""Tensor files: deterministic, atomic, and readable by others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import safetensors
import torch

from fqt_core.errors import CheckpointError
from fqt_core.tensorfile import METADATA_KEY, read_metadata, read_tensors, write_tensors


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    tensors = {"b": shared.view(2, 3).T, "a": shared, "n": torch.tensor(3), "empty": torch.zeros(0, 2)}
    size = write_tensors(tmp_path / "f", tensors, {"x": [1, None, "ä"]})
    assert size == (tmp_path / "f").stat().st_size
    read, metadata = read_tensors(tmp_path / "f")
    assert metadata == read_metadata(tmp_path / "f") == {"x": [1, None, "ä"]}
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((2,), float(i)) for i in range(20)}
    metadata = {f"k{i}": i for i in range(20)}
    write_tensors(tmp_path / "a", tensors, metadata)
    write_tensors(tmp_path / "b", dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_readers_find_one_metadata_key(tmp_path: Path) -> None:
    write_tensors(tmp_path / "f", {"a": torch.zeros(1)}, {"x": 1})
    with safetensors.safe_open(tmp_path / "f", "pt") as file:
        assert file.metadata() == {METADATA_KEY: '{"x": 1}'}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    write_tensors(path, {"a": torch.zeros(1)}, {})
    old = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_tensors(path, {"a": torch.ones(1)}, {})
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_data_is_synced_before_the_file_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    replace, fsync = Path.replace, os.fsync

    def record_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    def record_fsync(descriptor: int) -> None:
        steps.append("sync")
        fsync(descriptor)

    monkeypatch.setattr(Path, "replace", record_replace)
    monkeypatch.setattr(os, "fsync", record_fsync)
    write_tensors(tmp_path / "f", {"a": torch.zeros(1)}, {})
    assert steps == ["sync", "rename", "sync"]


def test_a_file_without_metadata_has_none(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes((2).to_bytes(8, "little") + b"{}")
    assert read_tensors(tmp_path / "f") == ({}, {})
    (tmp_path / "g").write_bytes(b"")
    with pytest.raises(CheckpointError, match="only 0 bytes"):
        read_metadata(tmp_path / "g")
