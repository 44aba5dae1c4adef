"""`fqt predict`: the images of a folder and how many are right, and what to do with a model that it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fqt_client import LocalFileError
from fqt_core import export
from fqt_core.config import Convnet, Method
from fqt_core.convert import convert_
from fqt_core.data.batches import Preprocessing
from fqt_core.models import build
from service.predict import image_files, load, run


def _model(path: Path) -> Path:
    network = build(Convnet(width=0.25, image_size=8, channels=1), num_classes=3)
    convert_(network, Method("qat"))
    inputs = Preprocessing(8, 1, (0.5,), (0.25,))
    export.save_packed(network.eval(), path, classes=["ant", "bee", "cat"], preprocessing=inputs)
    return path


def _picture(path: Path, grey: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)
    return path


def test_folders_are_gone_through_and_their_names_are_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, photos = _model(tmp_path / "model.safetensors"), tmp_path / "photos"
    for number, name in enumerate(("ant/1.png", "ant/more/2.PNG", "bee/3.png", "other/4.png", "5.png")):
        _picture(photos / name, 50 * number)
    for name in (".trash/6.png", "__MACOSX/7.png"):
        _picture(photos / name, 0)
    (photos / "ant" / "folder.png").mkdir()
    (photos / "notes.txt").touch()
    run(str(model), [photos], top=2, as_json=True)
    told = json.loads(capsys.readouterr().out)
    truths = {str(Path(row["image"]).relative_to(photos)): row["true"] for row in told["predictions"]}
    assert truths == {
        "ant/1.png": "ant",
        "ant/more/2.PNG": "ant",
        "bee/3.png": "bee",
        "other/4.png": None,
        "5.png": None,
    }
    right = sum(row["label"] == row["true"] for row in told["predictions"])
    assert told["accuracy"] == {"images": 3, "right": right, "share": right / 3}
    run(str(model), [photos], top=2, as_json=False)
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["image", "true", "prediction", "2."]
    assert f"({right} of 3 images whose folder is a class)" in out.splitlines()[-1]
    run(str(model), [photos / "bee" / "3.png"], top=1, as_json=False)  # its class is not known: nobody named a folder
    assert capsys.readouterr().out.splitlines()[0].split() == ["image", "prediction"]
    with pytest.raises(LocalFileError, match="no images"):
        image_files([photos / "ant" / "folder.png"])


def test_trees_are_told_from_networks(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"tree\nversion=v4\n")
    with pytest.raises(LocalFileError, match="holds trees") as caught:
        load(path)
    assert caught.value.remedy == "fqt models predict MODEL rows.csv"
    path.write_bytes(b"tree")
    with pytest.raises(LocalFileError, match="cannot use the model"):
        load(path)
