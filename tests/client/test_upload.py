from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from fqt_client import Client, InvalidRequestError, LocalFileError, PermissionDeniedError, WaitTimeoutError
from fqt_client.archive import zip_folder
from tests.client.fake import Script, problem

READY = {"id": "ds_1", "state": "ready", "profile": {"classes": [{"name": "a", "count": 1}, "b"], "images": 2}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("b/2.png", "a/1.png", "a/.hidden", ".git/config"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 1000)
    (root / "empty").mkdir()
    return root


def test_a_folder_is_zipped_and_sent_as_a_form(client: Client, script: Script, folder: Path) -> None:
    script.on("POST", "/v1/datasets", httpx.Response(201, json=READY))
    told: list[tuple[int, int]] = []
    dataset = client.datasets.upload(folder, progress=lambda done, size: told.append((done, size)))
    assert (dataset.id, dataset.classes, dataset.images) == ("ds_1", ["a", "b"], 2)
    body = script.requests[0].content
    assert b'name="name"\r\n\r\nphotos\r\n' in body
    assert b'name="file"; filename="photos.zip"' in body
    assert b"PK\x03\x04" in body
    assert told[-1][0] == told[-1][1] > 14000


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    assert zip_folder(folder, tmp_path / "1.zip") == 2
    (folder / "a" / "1.png").touch()
    zip_folder(folder, tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert sorted(archive.namelist()) == ["a/1.png", "b/2.png", "empty/"]
        assert archive.read("a/1.png") == b"a/1.png" * 1000


def test_nothing_that_cannot_be_read_is_left_out_without_a_word(
    client: Client, script: Script, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = folder / "a" / "linked.png"
    link.symlink_to("/nowhere/1.png")
    with pytest.raises(LocalFileError, match=r"cannot pack .*a/linked\.png: it is a link to nothing"):
        client.datasets.upload(folder)
    link.unlink()
    (folder / "c").symlink_to(folder / "a")
    with pytest.raises(LocalFileError, match=r"cannot pack .*photos/c: it is a link to a folder"):
        client.datasets.upload(folder)
    (folder / "c").unlink()
    scandir = os.scandir

    def forbidden(path: Any) -> Any:
        if str(path) == str(folder / "b"):  # not by its mode: the tests may run as root
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", forbidden)
        with pytest.raises(LocalFileError, match="photos/b: Permission denied"):
            client.datasets.upload(folder)
    assert script.requests == []


def test_a_second_try_sends_the_whole_file_again(client: Client, script: Script, tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"archive" * 5000)
    script.on("POST", "/v1/datasets", httpx.WriteError("reset"), httpx.Response(201, json=READY))
    client.datasets.upload(tmp_path / "x.tar.gz")
    first, second = script.requests
    assert second.content.count(b"archive") == 5000
    assert b"\r\n\r\nx\r\n" in second.content
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_the_check_is_waited_for(client: Client, script: Script, folder: Path) -> None:
    checking = READY | {"state": "checking", "profile": None}
    script.on("POST", "/v1/datasets", httpx.Response(202, json=checking))
    script.on("GET", "/v1/datasets/ds_1", httpx.Response(200, json=checking), httpx.Response(200, json=READY))
    assert client.datasets.upload(folder).state == "ready"
    script.on("GET", "/v1/datasets/ds_1", httpx.Response(200, json=checking))
    with pytest.raises(WaitTimeoutError, match="within 3 s"):
        client.datasets.upload(folder, wait=3)


def test_what_the_service_brings_itself_is_waited_for_too(client: Client, script: Script) -> None:
    checking = {"id": "ds_1", "state": "checking", "origin": {"kind": "url", "url": "https://x.example/a.zip"}}
    script.on("POST", "/v1/datasets/from-url", httpx.Response(202, json=checking))
    script.on("POST", "/v1/datasets/from-folder", httpx.Response(202, json=checking))
    script.on("GET", "/v1/datasets/ds_1", httpx.Response(200, json=READY | {"same_as": "ds_0"}))
    script.on("GET", "/v1/datasets/ds_1/thumbnails", httpx.Response(200, content=b"RIFF"))
    script.on("GET", "/v1/dataset-folders", httpx.Response(200, json={"data": [{"name": "photos"}]}))
    digest = "0" * 64
    assert client.datasets.from_url("https://x.example/a.zip?key=1", name="x", sha256=digest).same_as == "ds_0"
    assert client.datasets.from_folder("photos").state == "ready"
    assert client.datasets.folders() == ("photos",)
    assert client.datasets.thumbnails("ds_1") == b"RIFF"
    url, folder = (json.loads(entry.content) for entry in script.requests if entry.method == "POST")
    assert url == {"url": "https://x.example/a.zip?key=1", "name": "x", "sha256": digest}
    assert folder == {"folder": "photos", "name": None}
    script.on("POST", "/v1/datasets/from-url", problem(403, "downloads_off", "This service downloads nothing."))
    with pytest.raises(PermissionDeniedError, match="downloads nothing"):
        client.datasets.from_url("https://x.example/a.zip")


def test_faults_of_the_images_are_listed(client: Client, script: Script, folder: Path) -> None:
    faults = [{"field": "a/1.png", "message": "is no image"}]
    script.on("POST", "/v1/datasets", problem(422, "dataset_rejected", "The data set cannot be used.", errors=faults))
    with pytest.raises(InvalidRequestError, match=r"a/1\.png: is no image"):
        client.datasets.upload(folder)
    invalid = {
        "id": "ds_1",
        "state": "invalid",
        "error": {
            "message": "unusable",
            "faults": [{"where": "b", "message": "x"}, {"where": "", "message": "y", "remedy": "z"}],
        },
    }
    script.on("POST", "/v1/datasets", httpx.Response(202, json={"id": "ds_1", "state": "checking"}))
    script.on("GET", "/v1/datasets/ds_1", httpx.Response(200, json=invalid))
    with pytest.raises(InvalidRequestError, match=r"unusable: b: x; y; z$"):
        client.datasets.upload(folder)


def test_nothing_to_upload_is_said_before_anything_is_sent(client: Client, script: Script, tmp_path: Path) -> None:
    with pytest.raises(LocalFileError, match="no file or folder"):
        client.datasets.upload(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LocalFileError, match="no files in"):
        client.datasets.upload(tmp_path / "empty")
    assert script.requests == []
