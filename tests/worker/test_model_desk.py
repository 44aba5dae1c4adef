"""A desk keeps the models that were asked for last, within its bound, and reads no file of other bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from fqt_core.config import Convnet
from tests.api.registry import packed, picture
from worker.model_desk import ModelDesk
from worker.protocol import Answered


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one size."""
    folder = tmp_path_factory.mktemp("models")
    found = []
    for number in range(3):
        content = packed(folder, Convnet(width=0.25, image_size=8, channels=1), metrics={"number": number})
        found.append(folder / f"{number}")
        found[-1].write_bytes(content)
    return found


def _ask(desk: ModelDesk, path: Path, **changes: Any) -> Answered:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "0" * 64
    return desk.answer({"kind": "predict", "path": str(path), "sha256": sha256, "top_k": 1} | changes, [picture()])


def _held(desk: ModelDesk) -> list[int]:
    return [int((model.metrics or {})["number"]) for model, _ in desk._models.values()]


def test_the_models_asked_for_last_stay(files: list[Path], tmp_path: Path) -> None:
    desk = ModelDesk(tmp_path, threads=1, cache_bytes=1 << 30)
    assert _ask(desk, files[0]).ok
    size = next(size for _, size in desk._models.values())
    desk = ModelDesk(tmp_path, threads=1, cache_bytes=int(2.5 * size))
    for number in (0, 1, 0, 2):
        assert _ask(desk, files[number]).ok
    assert _held(desk) == [0, 2]
    none = ModelDesk(tmp_path, threads=1, cache_bytes=size - 1)
    assert _ask(none, files[0]).ok  # too large to be kept, and answered all the same
    assert _held(none) == []


def test_a_file_that_is_damaged_or_gone_is_told_without_its_path(files: list[Path], tmp_path: Path) -> None:
    desk = ModelDesk(tmp_path, threads=1, cache_bytes=1 << 30)
    for path, changes in ((files[0], {"sha256": "1" * 64}), (tmp_path / "gone", {})):
        answer = _ask(desk, path, **changes)
        assert (answer.ok, answer.values["code"]) == (False, "invalid_model")
        assert str(path) not in answer.values["message"]
    assert _held(desk) == []
