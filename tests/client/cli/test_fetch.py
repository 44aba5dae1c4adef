from __future__ import annotations

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
