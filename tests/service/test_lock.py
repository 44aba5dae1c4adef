from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import AlreadyRunningError, StartError
from service.lock import DataDirLock


def test_one_holder_at_a_time_and_the_other_is_told_who(tmp_path: Path) -> None:
    with DataDirLock(tmp_path / "data") as lock:
        lock.tell(pid=4711, url="http://127.0.0.1:9")
        with pytest.raises(AlreadyRunningError, match=r"already at http://127\.0\.0\.1:9 \(process 4711\)"):
            DataDirLock(tmp_path / "data").__enter__()
    with DataDirLock(tmp_path / "data") as again:
        assert str(os.getpid()) in again.path.read_text()


def test_a_holder_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from service.lock import DataDirLock; "
        f"DataDirLock(Path({str(tmp_path)!r})).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with DataDirLock(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot write to the data folder") as caught:
        DataDirLock(tmp_path / "file" / "data").__enter__()
    assert "--data-dir" in str(caught.value.remedy)
