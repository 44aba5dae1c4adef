from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from service.process import Child
from tests.service.running import wait_until_gone


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "part.log"


def _child(log: Path, code: str, **options: str) -> Child:
    return Child("part", [sys.executable, "-c", code], environment=dict(os.environ), log=log, **options)


def _wait_for_end(child: Child) -> None:
    deadline = time.monotonic() + 10
    while child.running:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_its_output_is_in_the_log_and_its_end_in_words(log: Path) -> None:
    child = _child(log, "import sys; print('out'); print(input(), file=sys.stderr); sys.exit(3)", given="secret\n")
    child.start()
    _wait_for_end(child)
    assert child.last_lines() == ["out", "secret"]
    assert child.exit_status == "ended with exit code 3"
    assert child.pid is None


def test_only_lines_of_the_last_start_are_told(log: Path) -> None:
    log.parent.mkdir()
    log.write_text("old\n")
    child = _child(log, "print('new')")
    child.start()
    _wait_for_end(child)
    assert child.last_lines() == ["new"]
    assert log.read_text() == "old\nnew\n"


def test_a_child_that_ends_is_started_again_later_and_later(log: Path) -> None:
    child = _child(log, "raise SystemExit(1)")
    child.start()
    delays = []
    while len(delays) < 3:
        _wait_for_end(child)
        delay = child.restart_when_due()
        if delay is not None:
            delays.append(delay)
        time.sleep(0.01)
    assert delays == [0.5, 1.0, 2.0]


def test_one_that_does_not_listen_is_killed_with_its_children(log: Path) -> None:
    code = textwrap.dedent("""
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print("started", flush=True)
        time.sleep(60)
    """)
    child = _child(log, code)
    child.start()
    while not child.last_lines():
        time.sleep(0.02)
    assert child.pid is not None
    family = [psutil.Process(child.pid), *psutil.Process(child.pid).children()]
    assert len(family) == 2
    child.terminate()
    time.sleep(0.2)
    assert child.running
    child.kill()
    assert wait_until_gone(family) == []
    assert child.exit_status == "was ended by SIGKILL"


def test_it_dies_with_its_parent_however_that_dies(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import os, sys, time
        from pathlib import Path
        from service.process import Child
        child = Child("part", [sys.executable, "-c", "import time; time.sleep(60)"],
                      environment=dict(os.environ), log=Path({str(tmp_path / "log")!r}))
        child.start()
        print(child.pid, flush=True)
        time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    deadline = time.monotonic() + 10
    while "sleep" not in " ".join(child.cmdline()[:3]):  # the leash has become the command
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    assert wait_until_gone([child], 5) == []


def test_a_leash_whose_parent_is_gone_already_ends_at_once() -> None:
    from service import leash

    run = subprocess.run([sys.executable, leash.__file__, "1", "sleep", "60"], timeout=10, check=False)
    assert run.returncode == -signal.SIGKILL


def test_a_log_that_has_grown_long_is_put_aside_while_its_process_runs(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.process.LOG_BYTES", 100)
    code = "import sys\nfor line in sys.stdin: print(line.strip() * 40, flush=True)\nimport time; time.sleep(60)"
    child = Child("talker", [sys.executable, "-c", code], environment=dict(os.environ), log=log, given="first\n")
    child.start()
    deadline = time.monotonic() + 20
    while "first" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.trim_log()
    assert log.read_text() == ""
    assert "firstfirst" in log.with_suffix(".old.log").read_text()
    assert child.last_lines() == []
    child.kill()
