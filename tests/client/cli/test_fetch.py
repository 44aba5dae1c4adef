from __future__ import annotations

import hashlib
from pathlib import Path

import httpx

from tests.client.cli.running import PATH, Run
from tests.client.fake import JOB_ID, Script


def test_a_file_in_the_way_of_a_folder_is_named(fqt: Run, script: Script, tmp_path: Path) -> None:
    entry = {"name": "report.json", "kind": "report", "size": 1, "sha256": "0" * 64}
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": [entry], "has_more": False}))
    (tmp_path / "note.txt").touch()
    for folder, reason in ((tmp_path / "note.txt", "it is a file"), (Path("/proc/x"), "No such file or directory")):
        code, _, err = fqt("fetch", JOB_ID, "-o", str(folder))
        assert code == 5
        assert err == f"fqt: cannot make the folder {folder}: {reason} — name another folder with -o\n"


def test_files_of_another_job_are_not_overwritten(fqt: Run, script: Script, tmp_path: Path) -> None:
    contents = {"model.safetensors": b"a model", "report.json": b"{}"}
    rows = [
        {"name": name, "kind": name[:5], "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents.items()
    ]
    script.on("GET", f"{PATH}/artifacts", httpx.Response(200, json={"data": rows, "has_more": False}))
    for name, content in contents.items():
        script.on("GET", f"{PATH}/artifacts/{name}", httpx.Response(200, content=content))
    command = ("fetch", JOB_ID, "-o", str(tmp_path))
    assert fqt(*command)[0] == 0
    asked = len(script.requests)
    assert fqt(*command)[0] == 0
    assert len(script.requests) == asked + 1  # the same files once more: only the list is asked for
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "report.json").write_bytes(b"of another job")
    code, out, err = fqt(*command)
    assert (code, out) == (5, "")
    assert err == (
        f"fqt: {tmp_path} holds files that are not of {JOB_ID}: report.json has other contents — name another folder "
        "with --output, or overwrite them with --force\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]  # nothing else was fetched before
    assert fqt(*command, "--force")[0] == 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == contents
