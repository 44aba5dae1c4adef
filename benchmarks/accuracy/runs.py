"""One training run, described as a job is, in a folder of its own that says when it is finished.

A folder's name is a digest of its description and of the library's sources, so that what was measured already is not
measured again, and a comparison that was interrupted goes on where it stood.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError
from benchmarks.pipes import ROOT
from fqt_core.config import ArchitectureConfig, MethodConfig, TrainConfig
from fqt_core.files import write_atomically

DESCRIPTION, RESULT = "run.json", "result.json"
_SOURCES = {".py", ".cpp", ".h", ".inc"}


@cache
def _library_digest() -> str:
    digest = hashlib.sha256()
    for folder in ("fqt_core", "csrc"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in _SOURCES:
                digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Run:
    """What is trained: network, method and training as in a job's description, the data's file, and its classes.

    ``start``: the run whose weights it starts from.
    """

    architecture: ArchitectureConfig
    method: MethodConfig
    training: TrainConfig
    data: Path
    classes: tuple[str, ...]
    start: Run | None = None
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """The description. Data are named by their digest."""
        return {
            "architecture": self.architecture.model_dump(mode="json"),
            "method": self.method.model_dump(mode="json"),
            "training": self.training.model_dump(mode="json"),
            "data_sha256": hashlib.sha256(self.data.read_bytes()).hexdigest(),
            "classes": list(self.classes),
            "start": self.start.digest if self.start is not None else None,
            "threads": self.threads,
            "isa": os.environ.get("FQT_ISA", "auto"),
            "library_sha256": _library_digest(),
        }

    @property
    def digest(self) -> str:
        """What the run is, in 16 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def folder(self, root: Path) -> Path:
        """Where its files are."""
        return root / self.digest

    def train(self, root: Path) -> dict[str, Any]:
        """Train in a process of its own, unless it has been done already; give the result.

        Raises:
            BenchmarkError: the process failed; with the last line that it wrote.
        """
        folder = self.folder(root)
        if not (folder / RESULT).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            start = str(self.start.folder(root) / "weights.safetensors") if self.start is not None else None
            description = self.to_json() | {"data": str(self.data), "initial_weights": start}
            write_atomically(folder / DESCRIPTION, (json.dumps(description, indent=1) + "\n").encode())
            command = [sys.executable, "-m", "benchmarks.accuracy.child", str(folder)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
                raise BenchmarkError(f"run {self.digest} ({self.method.name}) failed: {last[0]}")
        result: dict[str, Any] = json.loads((folder / RESULT).read_text())
        return result
