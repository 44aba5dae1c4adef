"""`fqt predict` says what to do with a model that it cannot use."""

from __future__ import annotations

from pathlib import Path

import pytest

from fqt_client import LocalFileError
from service.predict import load


def test_trees_are_told_from_networks(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"tree\nversion=v4\n")
    with pytest.raises(LocalFileError, match="holds trees") as caught:
        load(path)
    assert caught.value.remedy == "fqt models predict MODEL rows.csv"
    path.write_bytes(b"tree")
    with pytest.raises(LocalFileError, match="cannot use the model"):
        load(path)
