"""Checkpoints of a run that grows trees: JSON with the text of its trees. Written whole, or not at all."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fqt_core.config.tree_methods import Gbdt
from fqt_core.errors import CheckpointError
from fqt_core.events import CheckpointWritten
from fqt_core.files import file_sha256, write_atomically
from fqt_core.trees.boosting import Growth
from fqt_core.trees.model import TreeFacts
from fqt_core.trees.problem import Problem


class Checkpoint(BaseModel):
    """Where both runs of a job stand. ``identity``: of what they are; it has to match on resume."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fqt-trees-checkpoint"] = "fqt-trees-checkpoint"
    version: Literal[1] = 1
    identity: str
    kept: Growth
    full_precision: Growth | None


def identity_of(problem: Problem, method: Gbdt, seed: int) -> str:
    """SHA-256 (hex) over method, seed, columns, labels and split."""
    digest = hashlib.sha256()
    for text in (method.model_dump_json(), str(seed), TreeFacts.of(problem).model_dump_json()):
        digest.update(text.encode() + b"\n")
    for array in (problem.labels, problem.train, problem.validation):
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> CheckpointWritten:
    """Write a checkpoint; its event.

    Raises:
        OSError: it cannot be written.
    """
    step = checkpoint.kept.iterations
    path = folder / f"checkpoint-{step:08d}.json"
    write_atomically(path, checkpoint.model_dump_json().encode())
    return CheckpointWritten(
        step=step, epoch=float(step), path=str(path), sha256=file_sha256(path), size=path.stat().st_size
    )


def read_checkpoint(path: Path | str, identity: str) -> Checkpoint:
    """Read a checkpoint of the run with this identity.

    Raises:
        CheckpointError: it is damaged, or another run's.
    """
    try:
        found = Checkpoint.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of trees: {str(error).splitlines()[0]}") from error
    if found.identity != identity:
        raise CheckpointError(f"{path}: is of another method, seed, table or split")
    return found
