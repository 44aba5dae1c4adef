"""Limits, tried from inside: each in a process of its own, since none can be taken back."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import worker

ROOT = str(Path(worker.__file__).parents[1])

_PROLOGUE = """
import json, os, resource, socket, sys
from worker.protocol import Limits
from worker.sandbox import confine
held = confine(Limits(memory_bytes={memory}, nice=3, file_bytes=1 << 20))
"""


def confined(body: str, memory: int = 600 << 20) -> Any:
    """Run ``body`` in a confined process; what it assigns to ``out`` comes back."""
    code = _PROLOGUE.format(memory=memory) + body + "\nprint(json.dumps(out))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ROOT}, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_limit_is_reported() -> None:
    held = confined("out = held")
    assert held.keys() == {
        "parent_death", "core_dumps", "memory_bytes", "file_bytes", "nice", "network", "no_new_privileges",
    }  # fmt: skip
    assert held["core_dumps"] == 0
    assert held["memory_bytes"] == 600 << 20
    assert held["no_new_privileges"] is True
    assert held["parent_death"] is True


def test_memory_is_bounded() -> None:
    body = """
try:
    bytearray(1 << 30)
    out = "allowed"
except MemoryError:
    out = "refused"
"""
    assert confined(body) == "refused"
    assert confined(body, memory=4 << 30) == "allowed"


def test_files_and_core_dumps_are_bounded_and_rights_cannot_grow() -> None:
    body = """
import pathlib, signal, tempfile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    tempfile.TemporaryFile(buffering=0).write(b"x" * (2 << 20) + b"y")
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(3):
            file.write(b"x" * (1 << 20))
    big = "allowed"
except OSError:
    big = "refused"
status = pathlib.Path("/proc/self/status").read_text()
out = [big, resource.getrlimit(resource.RLIMIT_CORE), "NoNewPrivs:\\t1" in status]
"""
    assert confined(body) == ["refused", [0, 0], True]


def test_without_network_nothing_can_be_reached() -> None:
    body = """
try:
    socket.create_connection(("127.0.0.1", 9), timeout=2)
    out = [held["network"], "connected"]
except OSError as error:
    out = [held["network"], error.errno]
"""
    network, outcome = confined(body)
    if network != "off":
        # The kernel here forbids namespaces: then the record has to say so, in words.
        assert network.startswith("not possible here")
        return
    assert outcome == errno.ENETUNREACH  # not even loopback: it is down in a fresh namespace


def test_what_the_kernel_forbids_is_said_and_not_fatal(monkeypatch: pytest.MonkeyPatch) -> None:
    from worker import sandbox

    assert sandbox._attempt(lambda: 1 / 1) == 1

    def forbidden() -> None:
        raise PermissionError(1, "Operation not permitted")

    assert "Operation not permitted" in sandbox._attempt(forbidden)


def test_a_child_ends_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    code = (
        "import sys, time; from worker.lifeline import Lifeline; Lifeline(int(sys.argv[1])).listen();"
        "print('up', flush=True); time.sleep(60)"
    )
    read_end, write_end = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(write_end)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(write_end,),
        env={"PYTHONPATH": ROOT},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    child.stdin.close()
    assert child.wait(5) == 30
    child.stdout.close()
    os.close(read_end)
    os.close(write_end)


def test_an_ordinary_user_s_child_leaves_the_network_too() -> None:
    """The order of a child's start: pipes, limits, then the thread that listens."""
    code = """
import json, os, sys
from worker.lifeline import Lifeline
from worker.protocol import Limits
from worker.sandbox import confine
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
read, write = os.pipe()
line = Lifeline(write)
held = confine(Limits(memory_bytes=600 << 20, nice=3, file_bytes=1 << 20))
line.listen()
print(json.dumps(held), flush=True)
"""
    # Its input stays open until it has spoken: a child whose supervisor is gone ends at once, without a word.
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": ROOT},
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        said = child.stdout.readline()
        _, errors = child.communicate(timeout=30)
    assert said, errors.decode()
    held = json.loads(said)
    # A kernel may forbid user namespaces (EPERM); that threads are in the way (EINVAL) would be our fault.
    assert held["network"] == "off" or f"[Errno {errno.EPERM}]" in held["network"]
    assert held["parent_death"] is True
