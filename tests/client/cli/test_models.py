"""`fqt models …` in words and in JSON, against a scripted service; against a real one in tests/system."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.client.cli.running import Run
from tests.client.fake import Script, problem
from tests.client.models import CONTENT, MODEL, MODEL_ID, PATH, answer


@pytest.fixture(autouse=True)
def _service(script: Script) -> None:
    answer(script)


def test_models_are_listed_and_shown(fqt: Run, script: Script) -> None:
    code, out, _ = fqt("models", "list", "--method", "fqt")
    assert code == 0
    assert all(told in out for told in (MODEL_ID, "resnet18", "87.5 %", "uploaded"))
    assert script.seen("GET", "/v1/models")[0].url.params["method"] == "fqt"
    assert "digits" in fqt("models", "show", MODEL_ID)[1]
    assert fqt("models", "show", MODEL_ID, "--card")[1] == "# pets\n"
    assert json.loads(fqt("models", "list", "--json")[1]) == [MODEL]


def test_last_is_the_newest_model(fqt: Run, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(b"an image")
    assert MODEL_ID in fqt("models", "show", "last")[1]
    assert fqt("models", "show", "last", "--card")[1] == "# pets\n"
    assert fqt("models", "download", "last")[1].strip() == f"{MODEL_ID}.safetensors"
    assert fqt("models", "export", "last")[1].strip() == f"{MODEL_ID}.onnx"
    assert json.loads(fqt("models", "predict", "last", "a.png", "--json")[1])["model"] == MODEL_ID
    assert fqt("models", "delete", "last")[1] == f"Deleted {MODEL_ID}\n"
    script.on("GET", "/v1/models", httpx.Response(200, json={"data": [], "has_more": False}))
    code, out, err = fqt("models", "show", "last")
    assert (code, out) == (4, "")
    assert err == "fqt: there are no models yet — make one: fqt submit --dataset digits\n"


def test_files_come_under_the_name_of_the_model(fqt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert fqt("models", "download", MODEL_ID)[0] == 0
    assert fqt("models", "export", MODEL_ID, "--json")[0] == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        f"{MODEL_ID}.safetensors": CONTENT,
        f"{MODEL_ID}.onnx": CONTENT,
    }
    assert fqt("models", "download", MODEL_ID, "-o", "mine")[1].strip() == "mine"


def test_images_and_files_are_sent(fqt: Run, script: Script, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"an image")
    code, out, _ = fqt("models", "predict", MODEL_ID, str(tmp_path / "a.png"), "--top", "2")
    assert code == 0
    assert "cat (90.0 %)" in out
    assert (
        "Is a directory — name the images in it; `fqt predict`" in fqt("models", "predict", MODEL_ID, str(tmp_path))[2]
    )
    assert "dog (10.0 %)" in out
    assert b"an image" in script.seen("POST", f"{PATH}/predict")[0].content
    (tmp_path / "m.safetensors").write_bytes(CONTENT)
    assert "pets" in fqt("models", "upload", str(tmp_path / "m.safetensors"), "--name", "pets")[1]
    assert CONTENT in script.seen("POST", "/v1/models")[0].content
    assert fqt("models", "upload", str(tmp_path / "none"))[0] == 5
    assert fqt("models", "delete", MODEL_ID)[1] == f"Deleted {MODEL_ID}\n"


def test_rows_of_a_csv_file_are_predicted_by_trees(fqt: Run, script: Script, tmp_path: Path) -> None:
    columns = [
        {"name": "size", "kind": "number"},
        {"name": "town", "kind": "category"},
        {"name": "open", "kind": "boolean"},
    ]
    trees = MODEL | {"format": "trees", "architecture": {"name": "trees", "columns": columns}}
    script.on("GET", PATH, httpx.Response(200, json=trees))
    top = [{"label": "good", "probability": 0.75}, {"label": "poor", "probability": 0.25}]
    script.on("POST", f"{PATH}/predict", httpx.Response(200, json={"predictions": [{**top[0], "top": top}] * 2}))
    file = tmp_path / "rows.csv"
    file.write_text('id;town;size;open\n1;"a; b";2.5;TRUE\n2;NA;;false\n')
    code, out, _ = fqt("models", "predict", MODEL_ID, str(file))
    assert code == 0
    assert "good (75.0 %)" in out
    sent = json.loads(script.seen("POST", f"{PATH}/predict")[0].content)
    assert sent["rows"] == [{"size": 2.5, "town": "a; b", "open": True}, {"size": None, "town": None, "open": False}]
    script.on("POST", f"{PATH}/predict", httpx.Response(200, json={"predictions": [{"value": 2.5}, {"value": 3}]}))
    assert "2.5" in fqt("models", "predict", MODEL_ID, str(file))[1]
    file.write_text("size\nbig\n")
    code, _, err = fqt("models", "predict", MODEL_ID, str(file))
    assert (code, len(err.splitlines())) == (5, 1)
    assert "row 1: column 'size' holds numbers, not 'big'" in err
    file.write_text("colour\nred\n")
    assert "none of the model's columns" in fqt("models", "predict", MODEL_ID, str(file))[2]
    shown = fqt("models", "show", MODEL_ID)[1]
    assert "trees" in shown


def test_a_refusal_is_one_line(fqt: Run, script: Script) -> None:
    script.on("POST", f"{PATH}/exports", problem(409, "model_not_usable", "Weights alone are not exported."))
    code, out, err = fqt("models", "export", MODEL_ID)
    assert (code, out, len(err.splitlines())) == (4, "", 1)
    assert "Weights alone are not exported" in err
    assert fqt("models", "show", "../x")[0] == 2
