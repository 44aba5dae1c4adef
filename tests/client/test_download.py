from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fqt_client import ChecksumError, Client, LocalFileError, NotFoundError
from tests.client.fake import JOB_ID, Script

CONTENT = bytes(range(256)) * 40
PATH = f"/v1/jobs/{JOB_ID}/artifacts"


class _Breaks(httpx.SyncByteStream):
    """A body that breaks off after some bytes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise httpx.ReadError("reset")


def _offer(
    script: Script, *answers: httpx.Response, sha256: str | None = None, name: str = "model.safetensors"
) -> None:
    digest = sha256 or hashlib.sha256(CONTENT).hexdigest()
    entry = {"name": name, "kind": "model", "size": len(CONTENT), "sha256": digest}
    script.on("GET", PATH, httpx.Response(200, json={"data": [entry], "has_more": False}))
    script.on("GET", f"{PATH}/{name}", *answers)


def test_a_file_is_checked_and_put_in_place(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(script, httpx.Response(200, content=CONTENT))
    told: list[tuple[int, int]] = []
    path = client.jobs.download(JOB_ID, "model", tmp_path, progress=lambda done, size: told.append((done, size)))
    assert path == tmp_path / "model.safetensors"
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    client.jobs.download(JOB_ID, "model", tmp_path)
    assert len(script.seen("GET", f"{PATH}/model.safetensors")) == 1  # it was there already


def test_a_broken_download_goes_on_where_it_broke(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(
        script,
        httpx.Response(200, stream=_Breaks(CONTENT[:3000])),
        httpx.Response(206, stream=_Breaks(CONTENT[3000:5000])),
        httpx.Response(503, json={}),
        httpx.Response(206, content=CONTENT[5000:]),
    )
    assert client.jobs.download(JOB_ID, "model", tmp_path / "m").read_bytes() == CONTENT
    ranges = [request.headers.get("range") for request in script.seen("GET", f"{PATH}/model.safetensors")]
    assert ranges == [None, "bytes=3000-", "bytes=5000-", "bytes=5000-"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_service_without_ranges_sends_all_again(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(script, httpx.Response(200, stream=_Breaks(CONTENT[:3000])), httpx.Response(200, content=CONTENT))
    assert client.jobs.download(JOB_ID, "model", tmp_path / "m").read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(client: Client, script: Script, tmp_path: Path) -> None:
    (tmp_path / "m.part").write_bytes(b"something else")
    rest = CONTENT[len(b"something else") :]
    _offer(script, httpx.Response(206, content=rest), httpx.Response(200, content=CONTENT))
    assert client.jobs.download(JOB_ID, "model", tmp_path / "m").read_bytes() == CONTENT


def test_damaged_bytes_are_not_kept(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(script, httpx.Response(200, content=CONTENT[:-1] + b"?"))
    with pytest.raises(ChecksumError, match="damaged"):
        client.jobs.download(JOB_ID, "model", tmp_path / "m")
    assert list(tmp_path.iterdir()) == []
    assert len(script.seen("GET", f"{PATH}/model.safetensors")) == 2


def test_a_connection_that_always_breaks_is_given_up(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(script, httpx.Response(200, stream=_Breaks(CONTENT[:3000])))
    script.on("GET", f"{PATH}/model.safetensors", lambda _: httpx.Response(200, stream=_Breaks(CONTENT[:3000])))
    with pytest.raises(Exception, match="reset"):
        client.jobs.download(JOB_ID, "model", tmp_path / "m")
    assert len(script.seen("GET", f"{PATH}/model.safetensors")) <= 8


def test_the_service_does_not_choose_where_a_file_lands(client: Client, script: Script, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    _offer(script, httpx.Response(200, content=CONTENT), name="../outside")
    script.on("GET", f"{PATH}/../outside", httpx.Response(200, content=CONTENT))
    script.on("GET", f"/v1/jobs/{JOB_ID}/outside", httpx.Response(200, content=CONTENT))
    assert client.jobs.download(JOB_ID, "model", inside) == inside / "outside"
    assert not (tmp_path / "outside").exists()


def test_an_artifact_that_is_not_there_names_those_that_are(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(script, httpx.Response(200, content=CONTENT))
    with pytest.raises(NotFoundError, match=r"no artifact onnx \(it has: model\.safetensors\)"):
        client.jobs.download(JOB_ID, "onnx", tmp_path)


def test_a_folder_that_cannot_be_written_is_named(client: Client, script: Script, tmp_path: Path) -> None:
    _offer(script, httpx.Response(200, content=CONTENT))
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalFileError, match="cannot write"):
        client.jobs.download(JOB_ID, "model", tmp_path / "file" / "model")
