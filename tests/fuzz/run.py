"""Runs of schemathesis against the service, one after the other with seeds of their own, until there were enough."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.service import Service, serving

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("schemathesis.toml")


@dataclass
class Outcome:
    """What was asked, and what was found: operation, check and words of each distinct failure."""

    requests: int = 0
    failures: set[tuple[str, str, str]] = field(default_factory=set)
    output: str = ""


def fuzz(requests: int, *, seed: int = 1, examples: int = 100, phases: str | None = None, say: Any = None) -> Outcome:
    """Ask at least so many requests, or one run's worth; stop at the first run that finds something."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="fqt-fuzz-") as folder, serving(Path(folder) / "data") as service:
        while not outcome.failures and (outcome.requests < requests or not outcome.requests):
            report = Path(folder) / f"{seed}.json"
            outcome.output = _run(service, report, seed, examples, phases)
            outcome.failures |= _failures(report, outcome.output)
            outcome.requests = service.requests
            if say is not None:
                say(f"seed {seed}: {outcome.requests} requests so far, {len(outcome.failures)} failures")
            seed += 1
    return outcome


def _run(service: Service, report: Path, seed: int, examples: int, phases: str | None) -> str:
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [
        program, "--config-file", str(CONFIG), "run", f"{service.url}/openapi.json",
        "--header", f"Authorization:Bearer {service.key()}", "--checks", "all", "--mode", "all",
        "--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure", "--request-timeout", "30",
        "--no-color",
        *(["--phases", phases] if phases else []),
    ]  # fmt: skip
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "tests.fuzz.hooks", "PYTHONPATH": str(ROOT)}
    # In a folder of its own: schemathesis keeps a data base of examples where it runs.
    done = subprocess.run(command, cwd=report.parent, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout + ("" if done.returncode == 0 else "\nschemathesis found failures\n") + done.stderr


def _failures(report: Path, output: str) -> set[tuple[str, str, str]]:
    return {("", "", output[-20_000:])} if "schemathesis found failures" in output else set()
