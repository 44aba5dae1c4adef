"""What `fqt doctor` looks at on a machine of the service. Nothing is changed, and what is heavy runs in a child."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fqt_client.cli.findings import Finding
from fqt_client.cli.output import bytes_text
from jobs import database
from jobs.settings import Settings
from service import broker, ports
from service.errors import StartError
from service.parts import database_errors, read_settings
from worker.capacity import usable_cores, usable_memory

LEAST_MEMORY = 1 << 30
PROBE_SECONDS = 60.0
_KERNELS = """
import json, torch
from fqt_core.ops import native
built = sorted({isa for _, isa in native.KERNELS}, key=native.INSTRUCTION_SETS.index)
reason = native.load_extension()[1]
print(json.dumps({"torch": torch.__version__, "isa": native.ISA, "sets": built, "reason": reason}))
"""
_SANDBOX = """
import json
from worker.protocol import Limits
from worker.sandbox import confine
print(json.dumps(confine(Limits(memory_bytes=1 << 40, file_bytes=1 << 40, nice=0))))
"""


def checks() -> Iterator[Finding]:
    """Everything, what others depend on first."""
    yield from kernels()
    yield from sandbox()
    try:
        settings = read_settings()
    except StartError as error:
        yield Finding("settings", "broken", str(error), error.remedy or "correct or unset it")
        return
    yield from capacity(settings)
    yield from folder(settings)
    yield from leftovers(settings)
    yield from servers(settings)


def kernels() -> Iterator[Finding]:
    """PyTorch, the native extension and the instruction set that is chosen."""
    told, reason = _probe(_KERNELS)
    if told is None:
        remedy = "set FQT_ISA to auto" if "FQT_ISA" in reason else "install PyTorch and the project anew: make setup"
        yield Finding("kernels", "broken", reason, remedy)
        return
    yield Finding("torch", "ok", str(told["torch"]))
    sets = ", ".join(told["sets"])
    if sets:
        forced = " (forced by FQT_ISA)" if os.environ.get("FQT_ISA", "auto") != "auto" else ""
        slow = told["isa"] == "reference"
        message = f"uses {told['isa']}{forced}; this machine can run {sets}"
        yield Finding("kernels", "warning" if slow else "ok", message, "unset FQT_ISA to be quick" if slow else None)
        return
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    remedy = "build it: make setup" if compiler else "install a C++ compiler, then: make setup"
    message = f"the native extension is not built ({told['reason']}); the slow reference is used"
    yield Finding("kernels", "warning", message, remedy)


def sandbox() -> Iterator[Finding]:
    """Which limits a child of a worker can put on itself here."""
    told, reason = _probe(_SANDBOX)
    if told is None:
        yield Finding("sandbox", "broken", reason, "install the project anew: make setup")
        return
    failed = {name: value for name, value in told.items() if isinstance(value, str) and value.startswith("not poss")}
    for name, value in failed.items():
        remedy = "allow user namespaces (sysctl user.max_user_namespaces, the container's seccomp profile)"
        yield Finding("sandbox", "warning", f"{name}: {value}", remedy if name == "network" else None)
    if not failed:
        yield Finding("sandbox", "ok", "children can be cut off from the network and limited")


def capacity(settings: Settings) -> Iterator[Finding]:
    """Memory and cores against what the settings give away."""
    memory, cores = usable_memory(), usable_cores()
    child = settings.child_memory_bytes or 0
    if child * settings.slots > memory:
        message = (
            f"{settings.slots} slots of {bytes_text(child)} are more than the {bytes_text(memory)} of this machine"
        )
        yield Finding("memory", "warning", message, "lower FQT_SLOTS or FQT_CHILD_MEMORY_BYTES")
    elif memory // settings.slots < LEAST_MEMORY:
        message = f"a job gets {bytes_text(memory // settings.slots)} of memory"
        yield Finding("memory", "warning", message, "lower FQT_SLOTS, or add memory")
    else:
        yield Finding("memory", "ok", f"{bytes_text(memory)} for {settings.slots} job(s) at a time")
    if max(settings.threads or 1, settings.slots) > cores:
        message = f"FQT_THREADS ({settings.threads}) or FQT_SLOTS ({settings.slots}) is beyond the {cores} usable cores"
        yield Finding("cores", "warning", message, "lower it: threads that wait for each other slow training down")
    else:
        yield Finding("cores", "ok", f"{cores} usable")


def folder(settings: Settings) -> Iterator[Finding]:
    """The data folder: whether it can be written, who can read its secrets, and the room on its disk."""
    place = settings.data_dir
    there = next(path for path in (place, *place.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        remedy = "choose another with FQT_DATA_DIR, or give yourself the right to write there"
        yield Finding("data folder", "broken", f"{place} cannot be written", remedy)
        return
    open_secrets = [path for name in ("key", "secret") if (path := place / name).is_file() and _mode(path) & 0o077]
    for path in open_secrets:
        yield Finding("data folder", "broken", f"others can read the secret {path}", f"chmod 600 {path}")
    free = shutil.disk_usage(there).free
    if free < settings.min_free_bytes:
        message = f"{bytes_text(free)} are free at {place}, {bytes_text(settings.min_free_bytes)} are kept free"
        yield Finding("disk", "broken", message, "make room, or lower FQT_MIN_FREE_BYTES: workers take no jobs")
    else:
        yield Finding("disk", "ok", f"{bytes_text(free)} free at {place}")


def leftovers(settings: Settings) -> Iterator[Finding]:
    """What a crashed `fqt up` left, and whether its port is free."""
    holder, held = _lock(settings.data_dir / "up.lock")
    if held:
        yield Finding("fqt up", "ok", f"runs at {holder.get('url')} (process {holder.get('pid')})")
        return
    if holder:
        message = f"the one of process {holder.get('pid')} on {settings.data_dir} did not end cleanly"
        yield Finding("fqt up", "warning", message, "start it again with `fqt up`: it cleans up; nothing is lost")
    try:
        free = ports.is_free(settings.host, settings.port)
    except OSError:
        free = False
    if settings.port and not free and "port" in settings.model_fields_set:
        message = f"port {settings.port} of {settings.host} is taken, and not by an `fqt up` on {settings.data_dir}"
        yield Finding("port", "warning", message, "choose another with FQT_PORT, unless it is `fqt api` that listens")


def servers(settings: Settings) -> Iterator[Finding]:
    """The database and the broker that the settings name."""
    try:
        with database_errors():
            made = database.has_tables(settings)
    except StartError as error:
        yield Finding("database", "broken", str(error), error.remedy)
    else:
        text = f"{database.place(settings)} {'is there' if made else 'will be made by `fqt up`'}"
        yield Finding("database", "ok", text)
    if settings.blob_url is not None:
        yield _object_store(settings)
    if "broker_url" not in settings.model_fields_set:
        return  # `fqt up` starts its own
    try:
        there = broker.answers(settings.broker_url.get_secret_value())
    except ValueError as error:
        yield Finding("broker", "broken", f"FQT_BROKER_URL: {error}", "use redis://HOST:PORT/0")
        return
    if there:
        yield Finding("broker", "ok", "that of FQT_BROKER_URL answers")
    else:
        yield Finding("broker", "broken", "that of FQT_BROKER_URL does not answer", "start it, or unset that variable")


def _object_store(settings: Settings) -> Finding:
    from jobs.remote_blobs import RemoteBlobStore  # noqa: PLC0415 - takes a second to import

    files = RemoteBlobStore.of(settings)
    fault = files.fault()
    if fault is None:
        return Finding("object store", "ok", f"{files.url} answers")
    remedy = "check FQT_BLOB_URL, FQT_BLOB_ENDPOINT and the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)"
    return Finding("object store", "broken", fault, remedy)


def _probe(code: str) -> tuple[dict[str, Any] | None, str]:
    """What a Python process of its own prints as JSON, or the last line of what it complains about."""
    try:
        command = [sys.executable, "-P", "-c", code]
        run = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PROBE_SECONDS:g} s"
    if run.returncode:
        return None, (run.stderr.strip().splitlines() or [f"ended with {run.returncode}"])[-1]
    return json.loads(run.stdout), ""


def _lock(path: Path) -> tuple[dict[str, Any], bool]:
    """What the lock file says, and whether a process holds it."""
    try:
        with path.open("rb") as file:
            text = file.read(4096)
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                held = False
            except BlockingIOError:
                held = True
        content = json.loads(text or b"{}")
    except (OSError, ValueError):
        return {}, False
    return (content if isinstance(content, dict) else {}), held


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
