from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jobs

CODE = """
import logging
import structlog
from jobs import logs
logs.configure("info")
with structlog.contextvars.bound_contextvars(job_id="job_1", request_id="req_1"):
    structlog.stdlib.get_logger("worker").info("claimed", threads=2)
    logging.getLogger("jobs.reaper").warning("took back %s", "it", extra={"round": 7})
    logging.getLogger("jobs").debug("too quiet")
try:
    1 / 0
except ZeroDivisionError:
    structlog.stdlib.get_logger("worker").exception("broke")
"""


def test_every_line_is_json_with_what_is_bound() -> None:
    root = str(Path(jobs.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={"PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    first, second, third = map(json.loads, done.stderr.splitlines())
    assert (first["event"], first["level"], first["threads"], first["job_id"]) == ("claimed", "info", 2, "job_1")
    assert (second["event"], second["logger"], second["request_id"]) == ("took back it", "jobs.reaper", "req_1")
    assert second["round"] == 7
    assert "ZeroDivisionError" in third["exception"]
    assert "job_id" not in third
    assert all("timestamp" in line for line in (first, second, third))


def test_lines_for_people_hold_the_same() -> None:
    root = str(Path(jobs.__file__).parents[1])
    code = CODE.replace('configure("info")', 'configure("info", "console")')
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, text=True, check=True
    )
    claimed = next(line for line in done.stderr.splitlines() if "claimed" in line)
    assert not claimed.startswith("{")
    assert "job_id=job_1" in claimed
    assert "request_id=req_1" in claimed
    assert "ZeroDivisionError" in done.stderr
