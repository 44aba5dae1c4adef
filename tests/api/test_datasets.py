"""Uploads, friendly and hostile: what is refused leaves no row, no stored file and no temporary file behind."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import update
from starlette.requests import Request

from api.app import create_app
from api.multipart import FileUpload
from fqt_core.config.builtin import BUILTIN_DATASETS
from jobs import jobs, tables
from jobs.settings import Settings
from jobs.store import Store
from tests.api.conftest import SPEC, Attempt, RecordingDoorbell, archive, files_of, inspect, png, submit
from worker.inspection import Inspector

INSTALLED = [row.name for row in BUILTIN_DATASETS.values() if row.installed()]


def _upload(client: TestClient, content: bytes, filename: str = "images.zip", **options: Any) -> Any:
    wait = options.pop("wait", 20)
    data = options.pop("data", {})
    return client.post("/v1/datasets", params={"wait": wait}, files={"file": (filename, content)}, data=data, **options)


def _nothing_left(client: TestClient, settings: Settings) -> None:
    assert [row["id"] for row in client.get("/v1/datasets").json()["data"]] == INSTALLED
    assert files_of(settings) == []


@pytest.mark.usefixtures("inspected")
def test_an_upload_is_ready_when_a_worker_has_looked(client: TestClient, settings: Settings) -> None:
    content = archive()
    response = _upload(client, content, "my images.zip", data={"name": "Letters"})
    assert response.status_code == 201, response.text
    row = response.json()
    assert (row["name"], row["filename"], row["state"], row["size"]) == (
        "Letters",
        "my images.zip",
        "ready",
        len(content),
    )
    assert [(entry["name"], entry["count"]) for entry in row["profile"]["classes"]] == [("a", 6), ("b", 6)]
    assert client.get(f"/v1/datasets/{row['id']}").json() == row
    assert client.get("/v1/datasets").json()["data"][0] == row
    assert [path.name for path in files_of(settings)] == [row["sha256"]]

    job = client.post("/v1/jobs", json={**SPEC, "dataset": row["id"], "classes": ["b", "a"]})
    assert job.status_code == 201
    wrong = client.post(
        "/v1/jobs", json={**SPEC, "dataset": row["id"], "classes": ["b", "c"], "training": {"epochs": 0}}
    )
    assert [error["field"] for error in wrong.json()["errors"]] == ["training.epochs", "classes.1"]

    refused = client.delete(f"/v1/datasets/{row['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_in_use")
    assert job.json()["id"] in refused.json()["detail"]
    client.post(f"/v1/jobs/{job.json()['id']}/cancel")
    assert client.delete(f"/v1/datasets/{row['id']}").status_code == 204
    assert client.get(f"/v1/datasets/{row['id']}").status_code == 404
    _nothing_left(client, settings)


@pytest.mark.usefixtures("looked_through")
def test_thumbnails_are_served_as_a_picture_and_nothing_else(
    client: TestClient, settings: Settings, store: Store
) -> None:
    row = _upload(client, archive()).json()
    assert row["profile"]["thumbnails"] == {"rows": 2, "columns": 8, "side": 48}
    url = f"/v1/datasets/{row['id']}/thumbnails"
    response = client.get(url)
    assert response.status_code == 200
    assert Image.open(io.BytesIO(response.content)).size == (8 * 48, 2 * 48)
    assert {
        name: response.headers[name]
        for name in ("content-type", "x-content-type-options", "content-security-policy", "content-disposition")
    } == {
        "content-type": "image/webp",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "content-disposition": f'inline; filename="{row["id"]}.webp"',
    }
    assert client.get(url, headers={"If-None-Match": response.headers["etag"]}).status_code == 304
    assert client.get("/v1/datasets/ds_00000000000000000000000000/thumbnails").status_code == 404
    for organisation, status in (("org_other", 404), (tables.DEFAULT_ORGANISATION, 200)):
        with store.write() as connection:
            connection.execute(update(tables.datasets).values(organisation_id=organisation))
        assert client.get(url).status_code == status
    client.delete(f"/v1/datasets/{row['id']}")
    assert files_of(settings) == [], "the picture goes with its data set"


@pytest.mark.usefixtures("looked_through")
def test_equal_bytes_are_stored_once_and_looked_through_once_by_each_organisation(
    client: TestClient, settings: Settings, store: Store, doorbell: RecordingDoorbell
) -> None:
    first, second = (_upload(client, archive(), data={"name": name}).json() for name in ("one", "two"))
    assert (first["same_as"], second["same_as"]) == (None, first["id"])
    assert second["profile"] == first["profile"]
    assert second["state"] == "ready"
    assert doorbell.rung == [(first["id"], "inspect")], "the second was known"
    assert [row["same_as"] for row in client.get("/v1/datasets").json()["data"][:2]] == [first["id"], None]
    assert len(files_of(settings)) == 2, "the bytes and their thumbnails"

    with store.write() as connection:
        connection.execute(update(tables.datasets).values(organisation_id="org_other"))
    third = _upload(client, archive()).json()
    assert third["same_as"] is None, "what others have is not told"
    assert doorbell.rung[1:] == [(third["id"], "inspect")], "nor is it quicker"
    with store.write() as connection:
        connection.execute(update(tables.datasets).values(organisation_id=tables.DEFAULT_ORGANISATION))

    client.delete(f"/v1/datasets/{first['id']}")
    assert client.get(f"/v1/datasets/{second['id']}").json()["same_as"] is None, "the oldest of those that are left"
    assert client.get(f"/v1/datasets/{third['id']}").json()["same_as"] == second["id"]
    assert client.get(f"/v1/datasets/{second['id']}/thumbnails").status_code == 200
    client.delete(f"/v1/datasets/{second['id']}")
    assert len(files_of(settings)) == 2
    client.delete(f"/v1/datasets/{third['id']}")
    assert files_of(settings) == []


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two folders that an administrator has named."""
    for name in ("photos", "scans"):
        for number in range(6):
            path = tmp_path / name / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(number))
    return tmp_path


def test_a_mounted_folder_becomes_a_data_set_that_is_pinned(folders: Path, doorbell: RecordingDoorbell) -> None:
    setting = f"photos={folders / 'photos'}, scans={folders / 'scans'}"
    settings = Settings(data_dir=folders / "data", reaper_seconds=600, dataset_folders=setting)
    app = create_app(settings, doorbell=doorbell)
    with TestClient(app, base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {settings.key_path.read_text().strip()}"
        store = app.state.context.store
        doorbell.on_dataset = Inspector(store, threading.Event()).run
        page = client.get("/v1/dataset-folders", params={"limit": 1}).json()
        assert (page["has_more"], page["data"]) == (
            True,
            [{"object": "dataset_folder", "name": "photos", "dataset": None}],
        )
        headers = {"Idempotency-Key": "one"}
        responses = [
            client.post("/v1/datasets/from-folder", params={"wait": 20}, json={"folder": "photos"}, headers=headers)
            for _ in range(2)
        ]
        assert [response.status_code for response in responses] == [201, 201], responses[0].text
        row = responses[0].json()
        assert responses[1].json() == row
        assert (row["name"], row["state"], row["profile"]["images"]) == ("photos", "ready", 6)
        assert row["origin"] == {"kind": "folder", "url": None, "folder": "photos"}
        assert str(folders) not in responses[0].text, "where it is on the machine is nobody's business"
        assert client.get(f"/v1/datasets/{row['id']}/thumbnails").status_code == 200
        listed = client.get("/v1/dataset-folders").json()["data"]
        assert [(entry["name"], entry["dataset"]) for entry in listed] == [("photos", row["id"]), ("scans", None)]
        assert [entry["name"] for entry in client.get("/v1/dataset-folders?after=photos").json()["data"]] == ["scans"]
        job = client.post("/v1/jobs", json={**SPEC, "dataset": row["id"]}).json()
        with store.read() as connection:
            assert jobs.get(connection, job["id"]).dataset_sha256 == row["sha256"]

        listing = store.blobs.path(row["sha256"]).read_bytes()
        copy = client.post("/v1/datasets", params={"wait": 20}, files={"file": ("a.txt", listing)})
        assert copy.status_code == 422, "a file with the bytes of a listing is no folder"

        (folders / "scans" / "a" / "out.png").symlink_to("/etc/hostname")
        refused = client.post("/v1/datasets/from-folder", params={"wait": 20}, json={"folder": "scans"})
        assert (refused.status_code, refused.json()["code"]) == (422, "dataset_rejected")
        assert refused.json()["errors"][0]["field"] == "a/out.png"
        unknown = client.post("/v1/datasets/from-folder", json={"folder": "../etc"})
        assert unknown.status_code == 404


_GOOD = {"a/1.png": png(1), "a/2.png": png(2), "b/1.png": png(3), "b/2.png": png(4)}
_HOSTILE: dict[str, tuple[bytes, str]] = {
    "unknown type": (b"MZ\x90\x00" + bytes(500), ""),
    "empty file": (b"", ""),
    "broken zip": (archive()[:-40], ""),
    "broken image": (
        archive({"a/1.png": png(1), "a/2.png": png(2)[:40], "b/1.png": png(3), "b/2.png": png(4)}),
        "a/2.png",
    ),
    "text as image": (
        archive({"a/1.png": b"hello", "a/2.png": png(), "b/1.png": png(9), "b/2.png": png(8)}),
        "a/1.png",
    ),
    "empty class": (archive({"a/1.png": png(1), "a/2.png": png(2), "b/": b""}), "b"),
    "one class only": (archive({"a/1.png": png(1), "a/2.png": png(2)}), ""),
    "outside of its folder": (archive({"../a/1.png": png(1), "b/2.png": png(2)}), "../a/1.png"),
}


@pytest.mark.usefixtures("inspected")
@pytest.mark.parametrize("case", _HOSTILE)
def test_a_bad_data_set_is_refused_by_name_and_not_kept(client: TestClient, settings: Settings, case: str) -> None:
    content, where = _HOSTILE[case]
    response = _upload(client, content)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "dataset_rejected"
    assert problem["errors"]
    assert all(error["message"] for error in problem["errors"])
    assert any(where in error["field"] for error in problem["errors"]), problem["errors"]
    _nothing_left(client, settings)


def test_without_a_worker_the_answer_does_not_wait_for_ever(
    client: TestClient, store: Store, doorbell: RecordingDoorbell
) -> None:
    response = _upload(client, archive(), wait=0.1)
    assert response.status_code == 202
    row = response.json()
    assert row["state"] == "checking"
    assert response.headers["location"] == f"/v1/datasets/{row['id']}"
    assert doorbell.rung == [(row["id"], "inspect")]
    early = client.post("/v1/jobs", json={**SPEC, "dataset": row["id"]})
    assert early.json()["errors"][0]["field"] == "dataset"
    inspect(store, row["id"])
    assert client.get(f"/v1/datasets/{row['id']}").json()["state"] == "ready"


@pytest.mark.usefixtures("inspected")
def test_the_same_upload_twice(client: TestClient, settings: Settings, doorbell: RecordingDoorbell) -> None:
    headers = {"Idempotency-Key": "one"}
    first = _upload(client, archive(), headers=headers)
    again = _upload(client, archive(), headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    other = _upload(client, archive(images=7), headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(files_of(settings)) == 1
    assert len(doorbell.rung) == 1
    anew = _upload(client, archive())
    assert anew.json()["id"] != first.json()["id"]
    assert len(files_of(settings)) == 1, "the same bytes are stored once"
    client.delete(f"/v1/datasets/{anew.json()['id']}")
    assert len(files_of(settings)) == 1, "the first data set still needs them"


@pytest.mark.usefixtures("inspected")
def test_a_refused_upload_is_judged_again_under_the_same_key(client: TestClient, settings: Settings) -> None:
    for _ in range(2):
        response = _upload(client, b"nonsense", headers={"Idempotency-Key": "one"})
        assert (response.status_code, response.json()["code"]) == (422, "dataset_rejected")
    _nothing_left(client, settings)


def test_an_upload_beyond_the_limit_is_not_kept(client: TestClient, settings: Settings) -> None:
    response = _upload(client, bytes(settings.max_upload_bytes + 1))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")
    assert str(settings.max_upload_bytes) in response.json()["detail"]
    _nothing_left(client, settings)


def test_an_endless_upload_without_a_length_is_cut_off(client: TestClient, settings: Settings) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
        while sent < 100 << 20:
            sent += 1 << 16
            yield bytes(1 << 16)

    response = client.post("/v1/datasets", content=body(), headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert response.status_code == 413
    _nothing_left(client, settings)


def _part(name: str, content: str, filename: str | None = None) -> str:
    named = f'; filename="{filename}"' if filename else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n{content}\r\n'


_FORMS: dict[str, tuple[str, int, str]] = {
    "no closing boundary": (_part("file", "abc", "a.zip"), 400, "malformed_body"),
    "no boundary at all": ("hello", 400, "malformed_body"),
    "empty": ("", 400, "malformed_body"),
    "no file": (_part("name", "x") + "--x--\r\n", 422, "validation_error"),
    "two files": (_part("file", "a", "a.zip") + _part("file", "b", "b.zip") + "--x--\r\n", 422, "validation_error"),
    "unknown field": (_part("file", "a", "a.zip") + _part("label", "b") + "--x--\r\n", 422, "validation_error"),
    "overlong name": (_part("file", "a", "a.zip") + _part("name", "b" * 300) + "--x--\r\n", 422, "validation_error"),
    "huge name": (_part("file", "a", "a.zip") + _part("name", "b" * 9000) + "--x--\r\n", 422, "validation_error"),
    "NUL in the name": (_part("file", "a", "a.zip") + _part("name", "b\0") + "--x--\r\n", 422, "validation_error"),
    "header without end": ("--x\r\n" + "A" * 20_000, 400, "malformed_body"),
}


@pytest.mark.parametrize("case", _FORMS)
def test_damaged_forms(client: TestClient, settings: Settings, case: str) -> None:
    body, status, code = _FORMS[case]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = client.post("/v1/datasets?wait=0", content=body.encode(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    _nothing_left(client, settings)


@pytest.mark.parametrize(
    "media", ["application/zip", "application/json", "multipart/form-data", "multipart/mixed; boundary=x", ""]
)
def test_other_content_types(client: TestClient, settings: Settings, media: str) -> None:
    response = client.post("/v1/datasets", content=b"--x--", headers={"Content-Type": media})
    assert response.status_code == (400 if media == "multipart/form-data" else 415)
    _nothing_left(client, settings)


@pytest.mark.parametrize(
    ("filename", "kept", "name"),
    [
        ("../../etc/passwd", "passwd", "passwd"),
        ("C:\\data\\set.tar.gz", "set.tar.gz", "set"),
        ("a" * 300 + ".zip", None, None),
        ("bild\x7f.zip", "bild.zip", "bild"),
    ],
)
def test_file_names_are_only_names(client: TestClient, filename: str, kept: str | None, name: str | None) -> None:
    body = _part("file", "abc", filename) + "--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    row = client.post("/v1/datasets?wait=0", content=body.encode(), headers=headers).json()
    assert len(row["filename"]) <= 255
    assert len(row["name"]) <= 200
    if kept is not None:
        assert (row["filename"], row["name"]) == (kept, name)


def test_pages_of_data_sets_end_with_the_built_in_ones(client: TestClient) -> None:
    made = [_upload(client, archive(images=n), wait=0).json()["id"] for n in (1, 2, 3)]
    expected = [*made[::-1], *INSTALLED]
    for limit in (1, 2, 3, 4, 5, 10):
        seen: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = client.get("/v1/datasets", params={"limit": limit, **after}).json()
            seen += [row["id"] for row in page["data"]]
            if not page["has_more"]:
                break
            after = {"after": seen[-1]}
        assert seen == expected, limit


def test_built_in_data_sets(client: TestClient) -> None:
    row = client.get("/v1/datasets/digits").json()
    assert (row["builtin"], row["state"], row["profile"]["images"]) == (True, "ready", 1797)
    assert row["profile"]["requirement"] == "the Python package scikit-learn"
    sheet = client.get("/v1/datasets/digits/thumbnails")
    assert sheet.content == BUILTIN_DATASETS["digits"].thumbnails.read_bytes()
    again = client.get("/v1/datasets/digits/thumbnails", headers={"If-None-Match": sheet.headers["etag"]})
    assert again.status_code == 304
    assert client.delete("/v1/datasets/digits").json()["code"] == "conflict"
    assert client.get("/v1/datasets/imagenet").status_code == 404
    assert client.get(f"/v1/datasets/ds_{'0' * 26}").status_code == 404
    assert client.delete(f"/v1/datasets/ds_{'0' * 26}").status_code == 404


def test_a_finished_job_outlives_its_data_set(client: TestClient, store: Store) -> None:
    row = _upload(client, archive(), wait=0).json()
    inspect(store, row["id"])
    job_id = submit(client, dataset=row["id"])
    Attempt(store, job_id).succeed()
    assert client.delete(f"/v1/datasets/{row['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{job_id}").json()["spec"]["dataset"] == row["id"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1000])
def test_a_form_may_arrive_in_any_pieces(step: int) -> None:
    """However a body is cut, the file's bytes are the same: also where it holds what looks like a boundary."""
    content = b"\r\n--y\r\n--\r\n-" * 9 + bytes(range(256)) + b"\r\n--"
    head = b'--xy\r\nContent-Disposition: form-data; name="name"\r\n\r\nLetters\r\n'
    part = b'--xy\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\n'
    body = head + part + content + b"\r\n--xy--\r\n"
    pieces = [body[at : at + step] for at in range(0, len(body), step)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    headers = [(b"content-type", b"multipart/form-data; boundary=xy")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)

    async def read() -> tuple[bytes, FileUpload]:
        form = FileUpload(request, limit=len(content), fields=("name",))
        return b"".join([piece async for piece in form.chunks()]), form

    found, form = asyncio.run(read())
    assert found == content
    assert (form.filename, form.values) == ("a.zip", {"name": "Letters"})
